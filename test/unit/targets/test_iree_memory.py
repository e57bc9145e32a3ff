"""Functions are cut where what is alive around them and inside is more than the program may take."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from jogak.targets.iree.cut import Node
from jogak.targets.iree.memory import Memory, lives, refine, span


def node(operands: Sequence[int], results: Sequence[int], communicates: bool = False) -> Node:
    return Node(tuple(operands), tuple(results), communicates)


def memory(sizes: Sequence[int], limit: int, kept: Sequence[int], fused: Sequence[int] = ()) -> Memory:
    return Memory(dict(enumerate(sizes)), [0], frozenset([0, *kept]), frozenset(fused), limit)


def estimates(nodes: Sequence[Node], parts: Sequence[Sequence[int]], given_: Memory) -> list[tuple[int, int]]:
    """For each part the bytes around it and inside."""
    own = lives(nodes, parts, given_)
    spans = [span(own, part) for part in range(len(parts))]
    return [(each.outside, each.inside) for each in spans]


CHAIN = [node([0], [1]), node([1], [2]), node([2], [3]), node([0, 3], [4])]
SIZES = [8, 4, 16, 4, 2]


def test_what_a_function_takes() -> None:
    given_ = memory(SIZES, 0, [4])
    assert estimates(CHAIN, [[0, 1, 2, 3]], given_) == [(8 + 2, 4 + 16)]  # 16 + 4, then 4 beside the result
    assert estimates(CHAIN, [[0, 1], [2, 3]], given_) == [(8 + 16, 4), (8 + 16 + 2, 4)]
    assert estimates(CHAIN, [[0], [1], [2], [3]], given_) == [(12, 0), (28, 0), (28, 0), (14, 0)]


def test_a_program_that_fits_stays() -> None:
    assert refine(CHAIN, [[0, 1, 2, 3]], memory(SIZES, 30, [4]), {0: 20}) == [[0, 1, 2, 3]]


def test_a_function_is_cut_as_little_as_is_enough() -> None:
    # what is made first, large, and dies in the middle is held until the function ends
    nodes = [node([0], [1]), node([1], [2]), node([2], [3]), node([3], [4]), node([4], [5])]
    given_ = memory([0, 10, 1, 1, 1, 10], 13, [5])
    whole = [[0, 1, 2, 3, 4]]
    assert estimates(nodes, whole, given_) == [(10, 11)]
    parts = refine(nodes, whole, given_, {0: 11})
    assert len(parts) == 2
    assert all(outside + inside <= 13 for outside, inside in estimates(nodes, parts, given_))


def test_a_value_that_is_never_in_memory_is_not_cut_from_its_reader() -> None:
    given_ = memory([0, 10, 10, 10], 0, [3], fused=[1, 2])
    nodes = [node([0], [1]), node([1], [2]), node([2], [3])]
    assert refine(nodes, [[0, 1, 2]], given_, {0: 20}) == [[0, 1, 2]]


def test_what_iree_takes_corrects_the_estimate() -> None:
    nodes = [node([0], [1]), node([1], [2]), node([2], [3]), node([3], [4])]
    given_ = memory([0, 4, 4, 4, 4], 12, [4])
    assert refine(nodes, [[0, 1, 2, 3]], given_, {0: 8}) == [[0, 1, 2, 3]]
    assert len(refine(nodes, [[0, 1, 2, 3]], given_, {0: 16})) > 1


def test_a_collective_is_never_cut() -> None:
    nodes = [node([0], [1]), node([1], [2], communicates=True), node([2], [3])]
    assert refine(nodes, [[0], [1], [2]], memory([1, 1, 1, 1], 0, [3]), {0: 0, 2: 0}) == [[0], [1], [2]]


@st.composite
def programs(draw: st.DrawFn) -> tuple[list[Node], Memory]:
    count = draw(st.integers(1, 9))
    nodes = []
    for number in range(count):
        reads = draw(st.lists(st.integers(0, number), max_size=3, unique=True))
        nodes.append(node(reads, [number + 1]))
    sizes = draw(st.lists(st.integers(0, 9), min_size=count + 1, max_size=count + 1))
    return nodes, memory(sizes, draw(st.integers(0, 40)), [count])


@settings(deadline=None)
@given(programs())
def test_the_peak_is_the_lowest_or_below_the_limit(program: tuple[list[Node], Memory]) -> None:
    nodes, given_ = program
    count = len(nodes)
    whole = [list(range(count))]
    peaks = {}
    for places in (each for size in range(count) for each in combinations(range(1, count), size)):
        parts = [list(range(i, j)) for i, j in pairwise([0, *places, count])]
        peaks[places] = max(map(sum, estimates(nodes, parts, given_)))
    inside = estimates(nodes, whole, given_)[0][1]
    parts = refine(nodes, whole, given_, {0: inside})
    assert [number for part in parts for number in part] == list(range(count))
    found = max(map(sum, estimates(nodes, parts, given_)))
    assert found <= max(given_.limit, min(peaks.values()))
