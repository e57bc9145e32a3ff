"""What a rank measures."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from jogak.cli.main import main
from jogak.errors import JogakError
from jogak.targets.distributed.rank.main import options
from jogak.targets.distributed.rank.measure import Recorder, trace
from jogak.targets.iree.target import Iree
from jogak.targets.target import Request
from jogak.testing.training import TRAININGS

GPT = "zoo:gpt2?layers=1&heads=2&width=32&vocab=64&context=16&sequence=16&batch=4"


def helper(value: int) -> int:
    return value + 1


def program() -> int:
    first = helper(1)
    second = helper(first)
    return second


def test_a_trace_sees_the_lines_of_one_function_only():
    found = trace(program.__code__, program)
    first = program.__code__.co_firstlineno
    assert [line - first for line, _, _ in found] == [1, 2, 3, 3]
    walls = [wall for _, wall, _ in found]
    assert walls == sorted(walls)


class Silent:
    """Work that has no future, as some of gloo's."""

    def __init__(self) -> None:
        self.waited = 0

    def get_future(self) -> None:
        raise RuntimeError("Work::getFuture not implemented.")

    def wait(self) -> None:
        self.waited += 1


def test_work_without_a_future_ends_when_somebody_has_waited() -> None:
    recorder, work = Recorder(), Silent()
    (given,) = recorder.started("reduce_scatter", ("data",), 1.0, [work])
    (transfer,) = recorder.transfers
    before = transfer.end
    given.wait()
    assert work.waited == 1
    assert transfer.end > before


@pytest.mark.slow
def test_a_profile_is_written_beside_the_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    asked = ["--mesh", "data=2", "--shard", "tokens=[data, _]", "--shard", "target=[data, _]", "--target", "torch"]
    assert main(["compile", GPT, "--train", "adamw", *asked, "-o", str(folder)]) == 0
    assert main(["run", str(folder), "--profile", "--steps", "2"]) == 0
    assert "peak memory" in capsys.readouterr().out
    found = json.loads((folder / "profile.json").read_text())
    manifest = json.loads((folder / "manifest.json").read_text())
    promised = sum(each["count"] for each in manifest["predicted"]["collectives"].values())
    assert len(found["collectives"]) == promised
    assert found["step"]["predicted_s"] == pytest.approx(manifest["predicted"]["step_time_s"], rel=0.01)
    assert found["memory"]["measured_bytes"] == pytest.approx(found["memory"]["predicted_bytes"], rel=0.2)
    events = json.loads((folder / "timeline.measured.json").read_text())["traceEvents"]
    assert {each["pid"] for each in events} == {0, 1}


def test_the_simulator_measures_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    assert main(["compile", "zoo:mlp", "--mesh", "data=2", "--shard", "x=[data, _]", "-o", str(folder)]) == 0
    assert main(["run", str(folder), "--profile"]) == 1
    assert "--profile" in capsys.readouterr().err
    assert main(["run", str(folder), "--profile", "--check"]) == 2
    assert main(["run", str(folder), "--profile", "--compile"]) == 2


@pytest.mark.parametrize("other", [["--compile"], ["--checkpoint", "saved", "--save-every", "2"]])
def test_a_rank_refuses_what_a_profile_would_drop(other: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert options("", ["--profile", "--checkpoint", "saved"]).profile
    with pytest.raises(SystemExit):
        options("", ["--profile", *other])
    assert f"drop {'one of them' if len(other) == 1 else '--profile, or --save-every'}" in capsys.readouterr().err


def test_iree_measures_nothing(tmp_path: Path) -> None:
    with pytest.raises(JogakError, match="--profile"):
        Iree().execute(tmp_path, {}, {}, Request(profile=True))


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--precision", "f64"], ["--target", "torch"]])
def test_what_is_measured_is_the_program_that_ran(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows of images on two devices; the folder has another program than the one that runs, or none."""
    folder = TRAININGS["unet-rows"].compile(tmp_path / "out", "sim" if "--target" in words else "torch")
    assert main(["run", str(folder), "--profile", "--steps", "2", *words]) == 0
    assert "halo on rows" in capsys.readouterr().out
    found = json.loads((folder / "profile.json").read_text())
    manifest = json.loads((folder / "manifest.json").read_text())
    counted = Counter(each["kind"] for each in found["collectives"])
    assert counted == {kind: each["count"] for kind, each in manifest["predicted"]["collectives"].items()}
    assert all(each["measured_s"] > 0 for each in found["collectives"])
    assert sum(each["measured_s"] for each in found["segments"]) > 0
