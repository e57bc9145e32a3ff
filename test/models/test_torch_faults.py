"""What is left when a rank is killed or hangs, and a run that goes on from a checkpoint on another mesh."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from jogak.compiler import compile_configuration
from jogak.configuration import Configuration
from jogak.errors import JogakError
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.report.output import write_output
from jogak.targets.distributed.launch import command, environment, finish, torchrun
from jogak.testing.faults import hit
from jogak.testing.forked import forked

MLP = "zoo:mlp?layers=2&width=16&features=8&classes=4&batch=8"
BATCH = (("x=[data, _]", "test"), ("target=[data]", "test"))
pytestmark = pytest.mark.slow


def compiled(path: Path, mesh: str, constraints: tuple[tuple[str, str], ...]) -> Path:
    options = ImportOptions(Optimizer("adamw"))
    write_output(compile_configuration(Configuration(MLP, mesh, options, constraints, "torch")), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    split = (*BATCH, ("layers.0.weight=[model, _]", "test"))
    return compiled(tmp_path_factory.mktemp("faults") / "out", "data=2,model=2", split)


@pytest.mark.parametrize(("seed", "kind"), [(0, signal.SIGKILL), (1, signal.SIGKILL), (2, signal.SIGSTOP)])
def test_every_process_ends_and_the_checkpoint_is_usable(folder: Path, seed: int, kind: signal.Signals) -> None:
    ending = hit(folder, 4, seed, kind=kind)
    assert ending.named, ending.message
    assert ending.orphans == 0
    assert ending.steps >= 0


def run(folder: Path, processes: int, work: Path, *words: str) -> subprocess.CompletedProcess[str]:
    work.mkdir(exist_ok=True)
    line = command(folder, processes, ["--results", str(work), *words])
    return subprocess.run(line, env=environment(), capture_output=True, text=True, check=False)


def losses(folder: Path, processes: int, work: Path, *words: str) -> list[float]:
    done = run(folder, processes, work, *words)
    assert done.returncode == 0, done.stderr
    found: list[float] = json.loads((work / "rank0.json").read_text(encoding="utf-8"))["losses"]
    return found


@pytest.mark.usefixtures("forked_ranks")
@pytest.mark.parametrize("grows", [False, True], ids=["4 to 2", "2 to 4"])
def test_a_run_goes_on_on_another_mesh(folder: Path, tmp_path: Path, grows: bool) -> None:
    two, four = (compiled(tmp_path / "other", "data=2", BATCH), 2), (folder, 4)
    begun, ended = (two, four) if grows else (four, two)
    saved = ("--checkpoint", str(tmp_path / "saved"))
    whole = losses(*begun, tmp_path / "a", "--steps", "6")
    first = losses(*begun, tmp_path / "b", "--steps", "3", "--save-every", "3", *saved)
    rest = losses(*ended, tmp_path / "c", "--steps", "6", *saved)
    assert first == whole[:3]
    assert rest == pytest.approx(whole[3:], rel=1e-6)


SCRIPT = """
import sys, threading, jogak
step = jogak.load(sys.argv[1])
assert jogak.load(sys.argv[1]).mesh.rank == step.mesh.rank
assert [each.name for each in threading.enumerate()].count("pulse") == 1
for number in range(100):
    if number == 2 and step.mesh.rank == int(sys.argv[2]):
        raise ValueError("no more data")
    step()
"""


def test_an_error_in_a_script_ends_all_ranks(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    assert finish(torchrun(4, str(tmp_path / "script.py"), str(folder), "4"), tmp_path, 120.0) == ""
    with pytest.raises(JogakError, match=r"the run failed: rank 1: ValueError: no more data(\n|$)"):
        finish(torchrun(4, str(tmp_path / "script.py"), str(folder), "1"), tmp_path, 120.0)


SEVERAL = """
import sys, jogak, torch.distributed as dist
first = jogak.load(sys.argv[1])
second = jogak.load(sys.argv[2])  # another plan
again = jogak.load(sys.argv[1])
losses = [[float(each()["loss"]) for each in (first, second, again)] for _ in range(3)]
assert all(one == third and abs(one - other) < 1e-5 for one, other, third in losses), losses
"""


def test_a_script_runs_several_programs(tmp_path: Path) -> None:
    plans = compiled(tmp_path / "a", "data=2", BATCH), compiled(tmp_path / "b", "data=2", ())
    (tmp_path / "script.py").write_text(SEVERAL, encoding="utf-8")
    assert finish(forked(2, str(tmp_path / "script.py"), *map(str, plans)), tmp_path, 120.0) == ""


def test_a_missing_weight_file_is_named(folder: Path, tmp_path: Path) -> None:
    done = run(folder, 4, tmp_path / "a", "--values", str(tmp_path / "none.safetensors"))
    assert done.returncode == 1
    assert "none.safetensors: there is no such file of values" in done.stderr


def test_the_number_of_processes_must_be_that_of_the_mesh(folder: Path, tmp_path: Path) -> None:
    done = run(folder, 2, tmp_path / "a")
    assert done.returncode == 1
    assert "there are 2 processes, but the mesh data=2,model=2 has 4 devices" in done.stderr
