"""Micro-batches from the model to the check: PyTorch on the whole batch, one reduction of gradients, an arena."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import jogak
from jogak.compiler import Compilation, compile_configuration
from jogak.configuration import Configuration
from jogak.errors import JogakError
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.report.manifest import load_manifest
from jogak.report.output import write_output
from jogak.runtime.check import check_run, simulate_folder
from jogak.zoo import build

GPT = "zoo:gpt2?layers=2&heads=4&width=64&vocab=96&context=64&sequence=64&batch=16"
DATA = [("tokens=[data, _]", "test"), ("target=[data, _]", "test")]
ASKED = Configuration(GPT, "data=2", ImportOptions(Optimizer("adamw")), DATA, micro_batches=1)
MiB = 2**20


def reductions(made: Compilation) -> tuple[int, int]:
    assert made.promise is not None
    return tuple(sum(made.promise.collectives.get(kind, {}).get(what, 0) for kind in ("all_reduce", "reduce_scatter"))
                 for what in ("count", "bytes"))  # fmt: skip


def test_gradients_are_reduced_once_for_all_micro_batches() -> None:
    whole, cut = (compile_configuration(replace(ASKED, micro_batches=count)) for count in (1, 4))
    assert reductions(cut)[0] <= reductions(whole)[0] + 1
    assert reductions(cut)[1] == pytest.approx(reductions(whole)[1], rel=0.01)
    assert cut.promise.peak_memory_bytes < 0.6 * whole.promise.peak_memory_bytes  # type: ignore[union-attr]


@pytest.mark.parametrize("searched", ["nothing", "plan"])
def test_equal_to_pytorch_on_the_whole_batch(searched: str, tmp_path: Path) -> None:
    constraints = DATA if searched == "nothing" else ()
    asked = replace(ASKED, mesh="data=2,model=2", constraints=constraints, searched=searched, micro_batches=4)  # type: ignore[arg-type]
    write_output(compile_configuration(asked), tmp_path / "out")
    outcome = check_run(tmp_path / "out", load_manifest(tmp_path / "out"), None, None)
    assert outcome.passed, outcome.describe()
    assert max(each.relative for each in outcome.comparisons) < 1e-6


def test_memory_asks_for_micro_batches_and_the_arena_keeps_to_it(tmp_path: Path) -> None:
    """Too little for one pass over the batch, however much is recomputed."""
    limit = int(2.5 * MiB)
    made = compile_configuration(replace(ASKED, constraints=(), searched="plan", micro_batches=None, memory=str(limit)))
    count = made.configuration.micro_batches
    assert count is not None
    assert count > 1
    assert [each.count for each in made.micro_batches][:2] == [1, 2]
    assert any("micro-batches" in each.message for each in made.diagnostics)
    write_output(made, tmp_path / "out")
    manifest = load_manifest(tmp_path / "out")
    assert manifest["configuration"]["micro_batches"] == count
    (first, *_) = simulate_folder(tmp_path / "out", manifest, "declared").result.memory
    assert first.extent == first.arena <= limit
    assert check_run(tmp_path / "out", manifest, None, None).passed


def test_a_number_that_does_not_fit_is_refused_with_one_that_does() -> None:
    with pytest.raises(JogakError, match=r"hint: --micro-batches \d+ would fit"):
        compile_configuration(replace(ASKED, constraints=(), searched="plan", memory=str(int(2.5 * MiB))))


def test_python_api() -> None:
    entry = build("gpt2", {"layers": "1", "heads": "2", "width": "32", "vocab": "64", "sequence": "16", "batch": "8"})
    plan = jogak.compile(entry.module, entry.args, mesh="data=2", train="sgd", loss=entry.loss, micro_batches=2)
    assert plan.manifest["configuration"]["micro_batches"] == 2
    assert "micro-batches   2" in str(plan)
