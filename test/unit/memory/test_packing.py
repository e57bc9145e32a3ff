"""Packing: bounds, validation, search, files."""

from __future__ import annotations

import random

import pytest

from jogak.errors import JogakError
from jogak.memory.packing import Buffer, find_overlap, live_peak, pack, validate_packing
from jogak.memory.packing.formats import read_buffers


def random_buffers(count: int, seed: int) -> list[Buffer]:
    draw = random.Random(seed)
    starts = [draw.randrange(40) for _ in range(count)]
    return [Buffer(f"b{i}", start, start + draw.randint(1, 12), draw.randint(0, 50)) for i, start in enumerate(starts)]


def overlaps(buffers: list[Buffer], offsets: dict[str, int]) -> bool:
    """The definition, pair by pair."""
    return any(
        a.lower < b.upper
        and b.lower < a.upper
        and offsets[a.id] < offsets[b.id] + b.size
        and offsets[b.id] < offsets[a.id] + a.size
        for i, a in enumerate(buffers)
        for b in buffers[:i]
        if a.size and b.size
    )


def test_live_peak_counts_half_open_lifetimes():
    assert live_peak([Buffer("a", 0, 2, 10), Buffer("b", 2, 3, 20), Buffer("c", 1, 3, 5)]) == 25
    assert live_peak([]) == 0


@pytest.mark.parametrize("seed", range(200))
def test_find_overlap_agrees_with_its_definition(seed):
    buffers = random_buffers(8, seed)
    draw = random.Random(seed)
    offsets = {buffer.id: draw.randrange(120) for buffer in buffers}
    assert (find_overlap(buffers, offsets) is not None) == overlaps(buffers, offsets)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ({"a": 0}, "no offset"),
        ({"a": 0, "b": 9}, "overlaps"),
        ({"a": 0, "b": 25}, "outside the arena"),
        ({"a": -1, "b": 10}, "outside the arena"),
    ],
)
def test_validate_packing_rejects(offsets, message):
    buffers = [Buffer("a", 0, 2, 10), Buffer("b", 1, 3, 20)]
    with pytest.raises(JogakError, match=message):
        validate_packing(buffers, offsets, 30)


@pytest.mark.parametrize("seed", range(10))
def test_pack_finds_a_valid_arena(seed):
    buffers = random_buffers(40, seed)
    found = pack(buffers, time_limit=1.0)
    assert not overlaps(buffers, found.offsets)
    assert found.height == max(found.offsets[buffer.id] + buffer.size for buffer in buffers)
    assert found.height >= found.lower_bound == live_peak(buffers)


def test_pack_restarts_the_search_where_greedy_fails():
    """Squares cut from a full arena: any packing at the bound has no hole, and greedy by size leaves some."""
    draw = random.Random(5)
    buffers: list[Buffer] = []

    def cut(lower: int, upper: int, size: int) -> None:
        if size > 4 and (upper - lower <= 8 or draw.random() < 0.5):
            part = draw.randint(2, size - 2)
            cut(lower, upper, part)
            cut(lower, upper, size - part)
        elif upper - lower > 8:
            middle = draw.randint(lower + 3, upper - 3)
            cut(lower, middle, size)
            cut(middle, upper, size)
        else:
            buffers.append(Buffer(str(len(buffers)), lower, upper, size))

    cut(0, 64, 64)
    found = pack(buffers, 64)
    assert (found.height, found.lower_bound, found.optimal) == (64, 64, True)
    assert not overlaps(buffers, found.offsets)


def test_pack_proves_that_the_bound_cannot_be_met():
    """Four lifetimes around a cycle of five, all of size 2 against an odd leftover."""
    lives = [(0, 2, 2), (1, 4, 1), (3, 6, 2), (5, 8, 1), (7, 9, 2), (0, 3, 1), (4, 9, 1), (2, 5, 1), (6, 7, 1)]
    found = pack([Buffer(str(i), *life) for i, life in enumerate(lives)])
    assert found.optimal


def test_alignment_rounds_sizes_and_offsets():
    buffers = random_buffers(30, 3)
    found = pack(buffers, alignment=64)
    assert all(offset % 64 == 0 for offset in found.offsets.values())
    assert not overlaps(buffers, found.offsets)


@pytest.mark.parametrize(
    ("buffers", "message"),
    [
        ([Buffer("a", 0, 1, 1), Buffer("a", 0, 1, 1)], "same id"),
        ([Buffer("a", 1, 1, 1)], "is empty"),
        ([Buffer("a", 0, 1, -1)], "is negative"),
    ],
)
def test_pack_rejects(buffers, message):
    with pytest.raises(JogakError, match=message):
        pack(buffers)


def test_read_buffers_takes_columns_in_any_order(tmp_path):
    path = tmp_path / "b.csv"
    path.write_text("size,id,lower,upper\n7,x,0,2\n\n8,y,1,3\n")
    assert read_buffers(path) == [Buffer("x", 0, 2, 7), Buffer("y", 1, 3, 8)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("id,lower,uper,size\n", "the columns are"),
        ("id,lower,upper,size\na,0,1\n", r"b\.csv:2: 3 values"),
        ("id,lower,upper,size\na,0,1,x\n", r"b\.csv:2: not an integer"),
    ],
)
def test_read_buffers_says_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "b.csv"
    path.write_text(text)
    with pytest.raises(JogakError, match=message):
        read_buffers(path)


def test_read_buffers_of_a_missing_file(tmp_path):
    with pytest.raises(JogakError, match="cannot read"):
        read_buffers(tmp_path / "none.csv")


@pytest.mark.parametrize("seed", [0, 30, 39, 42, 43, 46])
def test_what_lives_at_the_fullest_moment_goes_first(seed):
    """Training steps in which every order of the library leaves a gap need none, without any search."""
    packed = pack(training_step(seed), time_limit=0.0)
    assert packed.height == packed.lower_bound


def training_step(seed: int, layers: int = 40) -> list[Buffer]:
    """Values kept from the forward to the backward pass, others that die at once, and gradients until the update."""
    draw = random.Random(seed)
    end = 4 * layers
    lives: list[tuple[int, int, int]] = []
    for layer in range(layers):
        forward, backward = 2 * layer, end - 2 * layer
        for _ in range(draw.randint(1, 3)):
            lives.append((forward, backward - draw.randint(0, 1), draw.choice([1, 2, 3, 4, 6, 8, 12, 16])))
        for start in (forward, backward - 2):
            lives += [(start, start + draw.randint(1, 3), draw.randint(1, 24)) for _ in range(2)]
        if draw.random() < 0.5:
            lives.append((backward - 2, end + 2, draw.randint(1, 4)))
    return [Buffer(str(number), *life) for number, life in enumerate(lives)]
