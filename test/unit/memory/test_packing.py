"""The packing engine: valid offsets, the bound, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from jogak.cli.main import main
from jogak.errors import JogakError
from jogak.memory.packing.buffers import Buffer, live_peak
from jogak.memory.packing.search import pack
from jogak.memory.packing.validate import find_overlap, validate_packing


def random_buffers(seed: int, count: int = 30) -> list[Buffer]:
    random = Random(seed)
    buffers = []
    for number in range(count):
        lower = random.randrange(40)
        buffers.append(Buffer(f"b{number}", lower, lower + random.randint(1, 12), 64 * random.randint(1, 20)))
    return buffers


@pytest.mark.parametrize("seed", range(8))
def test_packing_is_valid_and_not_below_the_bound(seed):
    buffers = random_buffers(seed)
    found = pack(buffers, time_limit=2)
    assert found.lower_bound == live_peak(buffers)
    assert found.height >= found.lower_bound
    assert found.height <= 1.1 * found.lower_bound
    assert find_overlap(buffers, found.offsets) is None


def test_validator_sees_an_overlap():
    buffers = [Buffer("a", 0, 4, 64), Buffer("b", 3, 5, 64)]
    assert find_overlap(buffers, {"a": 0, "b": 32}) is not None
    with pytest.raises(Exception, match="overlap"):
        validate_packing(buffers, {"a": 0, "b": 32}, 128)


def test_alignment_holds():
    found = pack([Buffer(f"b{i}", 0, 1, 100) for i in range(5)], alignment=64, time_limit=1)
    assert all(offset % 64 == 0 for offset in found.offsets.values())


def test_two_buffers_of_one_name_are_refused():
    with pytest.raises(JogakError, match="a"):
        pack([Buffer("a", 0, 1, 8), Buffer("a", 0, 1, 8)])


def test_command_prints_one_object(tmp_path: Path, capsys):
    path = tmp_path / "buffers.csv"
    path.write_text("id,lower,upper,size\na,0,2,64\nb,1,3,64\nc,2,4,64\n")
    assert main(["pack", str(path), "--capacity", "128"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["height"] == answer["lower_bound"] == 128
    assert answer["optimal"]
    assert set(answer) == {"height", "lower_bound", "optimal", "seconds", "offsets"}
