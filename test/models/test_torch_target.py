"""Ten training steps on real processes against PyTorch on one device: losses, and every result of the last step."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from jogak.compiler import compile_configuration
from jogak.configuration import Configuration
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ingress.reference import run_reference
from jogak.report.manifest import load_manifest
from jogak.report.output import write_output
from jogak.runtime.values import load_values
from jogak.targets.target import Request
from jogak.targets.torch.target import Torch

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
RESNET = "zoo:resnet?depth=18&width=8&image=64&classes=16&batch=8"  # fewer elements make batch norm chaotic
IMAGES = (("images=[data, _, _, _]", "test"), ("target=[data]", "test"))
UNET = "zoo:unet?levels=2&width=8&groups=4&image=16&batch=4"
ROWS = (("images=[_, _, rows, _]", "test"), ("target=[_, _, rows, _]", "test"))
TILES = (("images=[_, _, rows, columns]", "test"), ("target=[_, _, rows, columns]", "test"))
BATCH_AND_ROWS = (("images=[data, _, rows, _]", "test"), ("target=[data]", "test"))
EXPERTS = (("blocks.*.moe.up=[expert, ?, ?]", "test"), ("blocks.*.moe.down=[expert, ?, ?]", "test"))
GATED = (("blocks.*.mlp.up.weight=[model, _]", "test"), ("blocks.*.mlp.gate.weight=[model, _]", "test"))
PLANS = [
    pytest.param(GPT, "adamw", "data=2", BATCH, id="gpt2-data"),
    pytest.param(GPT, "adamw", "data=2,model=2", BATCH + MEGATRON, id="gpt2-megatron"),
    pytest.param(LLAMA, "adamw", "data=2,model=2", BATCH + GATED, id="llama"),
    pytest.param(MOE, "adamw", "expert=4", EXPERTS, id="moe"),
    pytest.param(RESNET, "sgd", "data=2", IMAGES, id="resnet-2"),
    pytest.param(RESNET, "sgd", "data=4", IMAGES, id="resnet-4"),
    pytest.param(RESNET, "sgd", "data=2,rows=2", BATCH_AND_ROWS, id="resnet-rows"),
    pytest.param(UNET, "adamw", "rows=2", ROWS, id="unet-rows"),
    pytest.param(UNET, "adamw", "rows=2,columns=2", TILES, id="unet-tiles"),
]


def folder_of(made: Path, model: str, train: Any, mesh: str, constraints: Any) -> Path:
    options = ImportOptions(Optimizer(train, learning_rate=1e-3))
    write_output(compile_configuration(Configuration(model, mesh, options, constraints, "torch")), made)
    return made


@pytest.mark.slow
@pytest.mark.parametrize(("model", "train", "mesh", "constraints"), PLANS)
def test_ten_steps_equal_eager(tmp_path: Path, model: str, train: str, mesh: str, constraints: Any) -> None:
    folder = folder_of(tmp_path / "out", model, train, mesh, constraints)
    manifest = load_manifest(folder)
    values = load_values(folder, manifest)
    # In f32 one rounding that switches a ReLU or a maximum sends the losses of a ResNet apart after five steps.
    done = Torch().execute(folder, manifest, values, Request(steps=STEPS, precision="f64", timeout=300))
    options = Configuration.from_json(manifest["configuration"]).options
    losses = []
    for _ in range(STEPS):
        results = run_reference(model, options, values, dtype=torch.float64)
        losses.append(float(results["loss"]))
        values = {name: results.get(name, value).reshape(value.shape) for name, value in values.items()}
    assert len(done.losses) == STEPS
    torch.testing.assert_close(torch.tensor(done.losses), torch.tensor(losses), rtol=1e-6, atol=0)
    assert losses[-1] != losses[0]
    assert done.collectives == manifest["predicted"]["collectives"]
    assert max(done.disagreement.values()) <= 1e-5


EAGER = Path(__file__).parents[1] / "unit" / "autoshard" / "eager.toml"
ODD = "zoo:gpt2?layers=1&heads=2&width=18&vocab=51&context=5&sequence=5&batch=3"


def searched(made: Path, mesh: str) -> Path:
    """An output folder whose plan the search found on a machine where it splits everything."""
    options = ImportOptions(Optimizer("adamw", learning_rate=1e-3))
    asked = Configuration(ODD, mesh, options, target="torch", machine=str(EAGER), searched="plan")
    write_output(compile_configuration(asked), made)
    return made


def started(folder: Path, processes: int, *arguments: str) -> list[float]:
    """The losses that `torchrun run.py` prints."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [*torchrun, str(folder / "run.py"), *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return [float(line.split()[3]) for line in done.stdout.splitlines() if line.startswith("step ")]


@pytest.mark.slow
def test_padded_pieces_run_and_go_on_on_another_mesh(tmp_path: Path) -> None:
    four = searched(tmp_path / "four", "data=4")
    manifest = load_manifest(four)
    assert sum("padded_shape" in entry for entry in manifest["arguments"]) > 10
    values = load_values(four, manifest)
    done = Torch().execute(four, manifest, values, Request(steps=1, timeout=300))
    options = Configuration.from_json(manifest["configuration"]).options
    expected = run_reference(ODD, options, values)
    for name, value in done.results.items():
        torch.testing.assert_close(value, expected[name].reshape(value.shape), rtol=1e-4, atol=1e-5, msg=name)
    run = tmp_path / "run"
    whole = started(four, 4, "--steps", "4")
    first = started(four, 4, "--steps", "2", "--checkpoint", str(run), "--save-every", "2")
    index = json.loads((run / "step-00000002" / "index.json").read_text(encoding="utf-8"))
    assert index["tensors"].keys() == {entry["name"] for entry in manifest["arguments"] if entry["role"] != "input"}
    rest = started(searched(tmp_path / "two", "data=2"), 2, "--steps", "4", "--checkpoint", str(run))
    torch.testing.assert_close(torch.tensor(first + rest), torch.tensor(whole), rtol=1e-4, atol=0)
