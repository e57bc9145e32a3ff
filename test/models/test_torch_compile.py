"""Segments through torch.compile's compiler: the same losses, and what is computed again stays so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import jogak
from jogak.compiler import compile_configuration
from jogak.configuration import Configuration
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.report.manifest import load_manifest
from jogak.report.output import write_output
from jogak.runtime.values import load_values
from jogak.targets.distributed.rank.measure import peak_memory
from jogak.targets.target import Request
from jogak.targets.torch.target import Torch

pytestmark = pytest.mark.slow
DEEP = "zoo:mlp?layers=6&width=256&features=256&classes=16&batch=2048"
GPT2 = "zoo:gpt2?layers=1&width=64&heads=2&vocab=256&sequence=32&batch=4"
SHARDS = {
    DEEP: (("x=[data, _]", "test"), ("target=[data]", "test")),
    GPT2: (("tokens=[data, _]", "test"), ("target=[data, _]", "test")),
}


def compiled(path: Path, model: str, mesh: str, memory: str = "auto") -> Path:
    asked = Configuration(model, mesh, ImportOptions(Optimizer("adamw")), SHARDS[model], "torch", memory=memory)
    write_output(compile_configuration(asked), path)
    return path


def test_losses_are_those_without_a_compiler(tmp_path: Path) -> None:
    folder = compiled(tmp_path / "out", GPT2, "data=2")
    manifest = load_manifest(folder)
    values = load_values(folder, manifest)
    plain = Torch().execute(folder, manifest, values, Request(steps=3))
    found = Torch().execute(folder, manifest, values, Request(steps=3, options=["--compile"]))
    assert "distinct segments" in found.output
    assert found.collectives == plain.collectives
    torch.testing.assert_close(torch.tensor(found.losses), torch.tensor(plain.losses), rtol=1e-5, atol=0)


def measured(folder: Path, *, compile: bool) -> tuple[list[float], int, int]:
    """Two losses, the peak of a step as the allocator counts it, and the promised one."""
    step = jogak.load(folder, compile=compile)
    losses = [float(step()["loss"]) for _ in range(2)]
    return losses, peak_memory(step)["peak"], load_manifest(folder)["predicted"]["peak_memory_bytes"]


def test_the_peak_falls_as_promised_with_and_without_a_compiler(tmp_path: Path) -> None:
    full = compiled(tmp_path / "full", DEEP, "data=1")
    tight = compiled(tmp_path / "tight", DEEP, "data=1", "0.75x")
    losses, peak, promised = measured(full, compile=False)
    again, lower, less = measured(tight, compile=False)
    assert peak - lower == pytest.approx(promised - less, rel=0.05)
    assert lower == pytest.approx(less, rel=0.05)
    assert again == pytest.approx(losses, rel=1e-6)
    again, compiled_peak, _ = measured(tight, compile=True)
    assert peak - compiled_peak >= 0.7 * (promised - less)
    assert again == pytest.approx(losses, rel=1e-6)
