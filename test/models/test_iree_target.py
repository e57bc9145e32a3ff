"""Ten training steps on real processes with code that IREE compiled, against PyTorch on one device."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import jogak
from jogak.compiler import compile_configuration
from jogak.configuration import Configuration
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.report.output import write_output
from jogak.targets.iree.target import Iree
from jogak.testing.training import TRAININGS, ten_steps

pytest.importorskip("iree.compiler", reason="the extra [iree] is not installed")
pytest.importorskip("iree.runtime", reason="the extra [iree] is not installed")


@pytest.mark.slow
@pytest.mark.usefixtures("forked_ranks")
@pytest.mark.parametrize("name", ["gpt2-data", "gpt2-megatron", "llama", "moe", "resnet-4"])
def test_ten_steps_equal_eager(tmp_path: Path, name: str) -> None:
    # IREE computes in f32, in which a ResNet's losses run apart at a larger rate.
    training = TRAININGS[name]
    folder = training.compile(tmp_path / "out", "iree", rate=1e-3 if training.optimizer == "adamw" else 1e-4)
    done, losses = ten_steps(folder, Iree())
    torch.testing.assert_close(torch.tensor(done.losses), torch.tensor(losses), rtol=1e-4, atol=0)
    assert losses[-1] != losses[0]


def peak(folder: Path, memory: str) -> tuple[int, int]:
    """Bytes that IREE's allocator gave out at most in two steps of a plan for one device, and those of the plan."""
    model = "zoo:gpt2?layers=4&heads=4&width=32&vocab=64&context=128&sequence=128&batch=4"
    options = ImportOptions(Optimizer("sgd", learning_rate=1e-3))
    asked = Configuration(model, "data=1", options, (), "iree", memory=memory, searched="nothing")
    write_output(compile_configuration(asked), folder)
    step = jogak.load(folder)
    losses = [float(step()["loss"]) for _ in range(2)]
    assert losses[1] < losses[0]
    return int(step.constants.peak_bytes), json.loads((folder / "memory.json").read_text())["arena_bytes"]


@pytest.mark.slow
def test_rematerialization_takes_what_was_planned(tmp_path: Path) -> None:
    less, planned_less = peak(tmp_path / "less", "0.6x")  # first: the statistics of a process only grow
    more, planned_more = peak(tmp_path / "all", "auto")
    assert planned_less <= 0.6 * planned_more
    assert less == pytest.approx(planned_less, rel=0.05)
    assert more == pytest.approx(planned_more, rel=0.05)
