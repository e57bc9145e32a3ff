from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import jogak
from jogak.targets.distributed.convert import read_distributed, state_dict_of, write_distributed
from jogak.targets.distributed.rank.checkpoint import Checkpoint, _describe, _owners, latest
from jogak.targets.distributed.rank.errors import RunError

MESH = {"data": 2, "model": 2}


def entry(sharding: str, shape: list[int]) -> dict[str, Any]:
    return {"name": "w", "sharding": sharding, "shape": shape}


@pytest.mark.parametrize("sharding", ["[_, _]", "[data, _]", "[model data, _]", "[model, data]"])
def test_pieces_of_one_mesh_make_windows_of_another(tmp_path: Path, sharding: str) -> None:
    whole = torch.arange(32.0).reshape(4, 8)
    described = _describe(entry(sharding, [4, 8]), MESH)
    for window, rank in _owners(entry(sharding, [4, 8]), MESH).items():
        piece = whole[tuple(slice(*each) for each in window)].contiguous()
        save_file({"w": piece}, str(tmp_path / f"rank-{rank:05d}.safetensors"))
    index = {"version": 1, "steps": 7, "tensors": {"w": described}}
    (tmp_path / "index.json").write_text(json.dumps(index), encoding="utf-8")
    with Checkpoint(tmp_path) as source:
        assert source.steps == 7
        assert torch.equal(source.read({"name": "w", "shape": [4, 8]}, (slice(1, 4), slice(3, 5))), whole[1:4, 3:5])
        assert torch.equal(
            source.read({"name": "w", "shape": [2, 16]}, (slice(1, 2), slice(0, 16))), whole.reshape(2, 16)[1:]
        )
        assert torch.equal(source.whole("w"), whole)
        with pytest.raises(RunError, match="'w' has shape"):
            source.read({"name": "w", "shape": [3]}, (slice(0, 3),))


def test_nobody_writes_padding() -> None:
    owners = _owners(entry("[data model, _]", [5, 3]), MESH)
    assert owners == {((0, 2), (0, 3)): 0, ((2, 4), (0, 3)): 1, ((4, 5), (0, 3)): 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "out"
    torch.manual_seed(0)
    made = jogak.compile(
        nn.Linear(4, 3), (torch.randn(2, 4),), mesh="data=1", train="adamw", loss="mse", target="torch"
    )
    made.save(path)
    return path


def inputs(number: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(number)
    return {"input": torch.randn(2, 4), "target": torch.randn(2, 3)}


def test_training_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    whole = jogak.load(folder)
    losses = [float(whole(**inputs(number))["loss"]) for number in range(6)]
    first = jogak.load(folder)
    for number in range(3):
        first(**inputs(number))
        first.save(tmp_path, number + 1, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]
    again = jogak.load(folder)
    assert again.restore(tmp_path) == 3
    assert [float(again(**inputs(number))["loss"]) for number in range(3, 6)] == losses[3:]
    assert losses[-1] != losses[0]


def test_conversion_both_ways(folder: Path, tmp_path: Path) -> None:
    step = jogak.load(folder)
    step(**inputs(0))
    path = step.save(tmp_path / "run", 1)
    values = state_dict_of(path)
    module = nn.Linear(4, 3)
    module.load_state_dict({name: values[name] for name in module.state_dict()})
    write_distributed(values, tmp_path / "dcp")
    back = read_distributed(tmp_path / "dcp")
    assert back.keys() == values.keys()
    assert all(torch.equal(back[name], values[name]) for name in values)
    other = jogak.load(folder)
    other.load_state_dict(back)
    assert float(other(**inputs(1))["loss"]) == float(step(**inputs(1))["loss"])


def test_the_program_is_read_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder, tmp_path / "out")
    with (tmp_path / "out" / "device.py").open("a", encoding="utf-8") as program:
        program.write("\nimport os\nos.environ['JOGAK_READ'] += '+'\n")
    monkeypatch.setenv("JOGAK_READ", "")
    jogak.load(tmp_path / "out")
    assert os.environ["JOGAK_READ"] == "+"


def test_what_does_not_fit_is_named(folder: Path, tmp_path: Path) -> None:
    step = jogak.load(folder)
    with pytest.raises(RunError, match="the program has no argument 'inptu'"):
        step(inptu=torch.randn(2, 4))
    with pytest.raises(RunError, match=r"'input' has shape \[3, 4\], but the program takes \[2, 4\]"):
        step(input=torch.randn(3, 4))
    assert step.restore(tmp_path) == 0
    with pytest.raises(RunError, match="no complete checkpoint"):
        Checkpoint(tmp_path)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_checkpoint_that_was_just_written_stays(folder: Path, tmp_path: Path) -> None:
    """Also one with a lower number than those that are there: of a run that began again in the same folder."""
    step = jogak.load(folder)
    for number in (10, 20, 5):
        path = step.save(tmp_path, number, keep=2)
        assert path.is_dir()
    assert names(tmp_path) == ["step-00000005", "step-00000010", "step-00000020"]
    step.save(tmp_path, 30, keep=2)
    assert names(tmp_path) == ["step-00000020", "step-00000030"]
    for keep in (0, -1):
        with pytest.raises(RunError, match="keep at least 1"):
            step.save(tmp_path, 40, keep=keep)
    assert names(tmp_path) == ["step-00000020", "step-00000030"]


class Killed(Exception):
    """What stands for a kill."""


def replaced(folder: Path, work: Path, moment: int) -> bool:
    """Save number 1 twice; the second time the process is killed in front of its nth rename or removal.

    Returns:
        Whether it was done before that.
    """
    calls = 0

    def watched(act: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == moment:
                raise Killed
            return act(*given, **named)

        return call

    step = jogak.load(folder)
    step(**inputs(0))
    step.save(work, 1)
    step(**inputs(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", watched(Path.rename))
        patch.setattr(shutil, "rmtree", watched(shutil.rmtree))
        try:
            step.save(work, 1)
        except Killed:
            return False
    return True


def test_a_kill_while_a_checkpoint_is_replaced_leaves_it_or_the_new_one(folder: Path, tmp_path: Path) -> None:
    first, second = (run_of(folder, steps) for steps in (1, 2))
    for moment in count(1):
        work = tmp_path / str(moment)
        done = replaced(folder, work, moment)
        again = jogak.load(folder)
        assert again.restore(work) == 1
        assert any(equal_states(again.state, each) for each in ([second] if done else [first, second]))
        again.save(work, 2)
        assert names(work) == ["step-00000001", "step-00000002"]
        if done:
            break
    assert moment > 2


def run_of(folder: Path, steps: int) -> dict[str, torch.Tensor]:
    step = jogak.load(folder)
    for number in range(steps):
        step(**inputs(number))
    return {name: value.clone() for name, value in step.state.items()}


def equal_states(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


KILLED = """
import os, sys, jogak
from jogak.targets.distributed.rank import checkpoint
step = jogak.load(sys.argv[1])
step.save(sys.argv[2], 1)
calls = 0
def die(path, real=checkpoint._sync):
    global calls
    calls += 1
    if calls == int(sys.argv[3]):
        os.kill(os.getpid(), 9)
    real(path)
checkpoint._sync = die
step.save(sys.argv[2], 2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 2, 3])
def test_a_kill_while_saving_leaves_a_usable_checkpoint(folder: Path, tmp_path: Path, moment: int) -> None:
    words = [sys.executable, "-c", KILLED, str(folder), str(tmp_path), str(moment)]
    assert subprocess.run(words, env=os.environ, check=False).returncode == -signal.SIGKILL
    path = latest(tmp_path)
    assert path is not None
    assert path.name == ("step-00000001" if moment < 3 else "step-00000002")
    assert jogak.load(folder).restore(tmp_path) in (1, 2)
