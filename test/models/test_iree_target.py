"""Ten training steps on real processes with code that IREE compiled, against PyTorch on one device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import jogak
from jogak.compiler import compile_configuration
from jogak.configuration import Configuration
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ingress.reference import run_reference
from jogak.report.manifest import load_manifest
from jogak.report.output import write_output
from jogak.runtime.values import load_values
from jogak.targets.iree.target import Iree
from jogak.targets.target import Request

pytest.importorskip("iree.compiler", reason="the extra [iree] is not installed")
pytest.importorskip("iree.runtime", reason="the extra [iree] is not installed")

STEPS = 10
BATCH = (("tokens=[data, _]", "test"), ("target=[data, _]", "test"))
MEGATRON = (
    ("blocks.*.attn.qkv.weight=[model, _]", "test"),
    ("blocks.*.attn.proj.weight=[_, model]", "test"),
    ("blocks.*.mlp.up.weight=[model, _]", "test"),
    ("blocks.*.mlp.down.weight=[_, model]", "test"),
)
GPT = "zoo:gpt2?layers=2&heads=4&width=32&vocab=64&context=16&sequence=16&batch=4"
LLAMA = "zoo:llama?layers=2&heads=4&kv_heads=2&width=32&hidden=64&vocab=64&sequence=16&batch=4"
MOE = "zoo:moe?layers=1&heads=4&width=32&hidden=64&experts=4&vocab=64&sequence=8&batch=4"
RESNET = "zoo:resnet?depth=18&width=8&image=64&classes=16&batch=8"
IMAGES = (("images=[data, _, _, _]", "test"), ("target=[data]", "test"))
EXPERTS = (("blocks.*.moe.up=[expert, ?, ?]", "test"), ("blocks.*.moe.down=[expert, ?, ?]", "test"))
GATED = (("blocks.*.mlp.up.weight=[model, _]", "test"), ("blocks.*.mlp.gate.weight=[model, _]", "test"))
PLANS = [
    pytest.param(GPT, "adamw", "data=2", BATCH, id="gpt2-data"),
    pytest.param(GPT, "adamw", "data=2,model=2", BATCH + MEGATRON, id="gpt2-megatron"),
    pytest.param(LLAMA, "adamw", "data=2,model=2", BATCH + GATED, id="llama"),
    pytest.param(MOE, "adamw", "expert=4", EXPERTS, id="moe"),
    pytest.param(RESNET, "sgd", "data=4", IMAGES, id="resnet"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "train", "mesh", "constraints"), PLANS)
def test_ten_steps_equal_eager(tmp_path: Path, model: str, train: Any, mesh: str, constraints: Any) -> None:
    options = ImportOptions(Optimizer(train, learning_rate=1e-3 if train == "adamw" else 1e-4))
    folder = tmp_path / "out"
    write_output(compile_configuration(Configuration(model, mesh, options, constraints, "iree")), folder)
    manifest = load_manifest(folder)
    values = load_values(folder, manifest)
    done = Iree().execute(folder, manifest, values, Request(steps=STEPS, timeout=300))
    losses = []
    for _ in range(STEPS):
        results = run_reference(model, options, values)
        losses.append(float(results["loss"]))
        values = {name: results.get(name, value).reshape(value.shape) for name, value in values.items()}
    assert len(done.losses) == STEPS
    torch.testing.assert_close(torch.tensor(done.losses), torch.tensor(losses), rtol=1e-4, atol=0)
    assert losses[-1] != losses[0]
    assert done.collectives == manifest["predicted"]["collectives"]


def peak(folder: Path, memory: str) -> int:
    """Bytes that IREE's allocator gave out at most in two steps of a plan for one device."""
    model = "zoo:gpt2?layers=4&heads=4&width=32&vocab=64&context=128&sequence=128&batch=4"
    options = ImportOptions(Optimizer("sgd", learning_rate=1e-3))
    asked = Configuration(model, "data=1", options, (), "iree", memory=memory, searched="nothing")
    write_output(compile_configuration(asked), folder)
    step = jogak.load(folder)
    losses = [float(step()["loss"]) for _ in range(2)]
    assert losses[1] < losses[0]
    return int(step.constants.peak_bytes)


@pytest.mark.slow
def test_rematerialization_survives(tmp_path: Path) -> None:
    less = peak(tmp_path / "less", "0.6x")  # first: the statistics of a process only grow
    assert less < 0.9 * peak(tmp_path / "all", "auto")
