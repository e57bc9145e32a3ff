"""One weight for queries, keys and values of unequal widths: sharded like a model with three."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from jogak.compiler import Compilation, compile_configuration
from jogak.configuration import Configuration
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.report.manifest import build_manifest, load_manifest
from jogak.report.output import write_output
from jogak.runtime.values import load_values
from jogak.targets.distributed.convert import state_dict_of
from jogak.targets.target import Request
from jogak.targets.torch.target import Torch
from jogak.testing.training import started

LAYERS = 2
MODEL = f"zoo:llama?layers={LAYERS}&heads=8&kv_heads=2&width=64&hidden=128&vocab=96&sequence=16&batch=4"
FUSED = f"{MODEL}&fused=true"
MEGATRON = {
    MODEL: [f"blocks.*.{name}.weight=[model, _]" for name in ("attn.q", "attn.k", "attn.v", "mlp.gate", "mlp.up")],
    FUSED: [f"blocks.*.{name}.weight=[model, _]" for name in ("attn.qkv", "mlp.gate_up")],
}
ROWS = [f"blocks.*.{name}.weight=[_, model]" for name in ("attn.proj", "mlp.down")]


def compiled(model: str, *, training: bool) -> Compilation:
    requests = [*MEGATRON[model], *ROWS, "role:input=[data, _]"]
    options = ImportOptions(Optimizer("adamw") if training else None)
    return compile_configuration(
        Configuration(model, "data=2,model=2", options, [(text, "--shard") for text in requests])
    )


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_collectives_are_those_of_separate_weights(training: bool) -> None:
    fused, separate = (build_manifest(compiled(model, training=training)) for model in (FUSED, MODEL))
    assert fused["predicted"]["collectives"] == separate["predicted"]["collectives"]
    assert (
        fused["predicted"]["collectives"]["all_reduce"]["by_axis"]["model"]["count"] == (4 if training else 2) * LAYERS
    )
    held = {each["name"]: each for each in fused["arguments"]}["blocks.0.attn.qkv.weight"]
    assert held["shape"] == [2, 48, 64]
    assert held["local_shape"] == [1, 48, 64]
    assert held["logical_shape"] == [96, 64]
    assert held["shares"] == [[32, 8, 8], []]


def test_more_devices_than_key_heads_split_the_rows_of_a_share() -> None:
    """The weight lies in four pieces, as asked; heads cannot."""
    asked = [("blocks.*.attn.qkv.weight=[model, _]", "--shard")]
    made = compile_configuration(Configuration(FUSED, "model=4", ImportOptions(None), asked))
    held = {each["name"]: each for each in build_manifest(made)["arguments"]}["blocks.0.attn.qkv.weight"]
    assert held["sharding"] == "[_, model, _]"


@pytest.mark.slow
def test_the_search_splits_heads_where_it_pays() -> None:
    """A short prompt is bound by reading the weights."""
    model = "zoo:llama?layers=1&heads=16&kv_heads=4&width=2048&hidden=5632&vocab=96&sequence=32&batch=1&fused=true"
    made = compile_configuration(
        Configuration(model, "model=4", ImportOptions(None), [], machine="a100-80g", searched="plan")
    )
    placed = {each["name"]: each["sharding"] for each in build_manifest(made)["arguments"]}
    assert placed["blocks.0.attn.qkv.weight"] == "[model, _, _]"
    assert placed["blocks.0.attn.proj.weight"] == "[_, model]"


def written(folder: Path, mesh: str, requests: list[str]) -> Path:
    options = ImportOptions(Optimizer("adamw", learning_rate=1e-3))
    asked = [(text, "--shard") for text in requests]
    write_output(compile_configuration(Configuration(FUSED, mesh, options, asked, target="torch")), folder)
    return folder


def run(folder: Path, values: dict[str, Tensor], steps: int) -> dict[str, Tensor]:
    done = Torch().execute(folder, load_manifest(folder), values, Request(steps=steps, precision="f64", timeout=300))
    return dict(done.results)


@pytest.mark.slow
@pytest.mark.usefixtures("forked_ranks")
def test_a_run_goes_on_on_another_mesh(tmp_path: Path) -> None:
    """Checkpoints hold shares; what reads them, on this mesh or another or as a state_dict, gets the model's order."""
    four = written(tmp_path / "four", "data=2,model=2", [*MEGATRON[FUSED], *ROWS, "role:input=[data, _]"])
    two = written(tmp_path / "two", "data=2", ["role:input=[data, _]", "role:optimizer_state=any(data)"])
    kept = tmp_path / "run"
    whole = started(four, 4, "--steps", "4")
    first = started(four, 4, "--steps", "2", "--checkpoint", str(kept), "--save-every", "2")
    saved = state_dict_of(kept / "step-00000002")
    rest = started(two, 2, "--steps", "4", "--checkpoint", str(kept))
    torch.testing.assert_close(torch.tensor(first + rest), torch.tensor(whole), rtol=1e-4, atol=0)
    expected = run(two, load_values(two, load_manifest(two)), 2)
    for name in ("blocks.0.attn.qkv.weight", "exp_avg.blocks.0.attn.qkv.weight"):
        assert saved[name].shape == (96, 64)
        torch.testing.assert_close(saved[name].double(), expected[name].double(), rtol=1e-3, atol=1e-5)
