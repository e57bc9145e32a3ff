from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from jogak.targets.iree.cut import GRAIN, Node, crossing, cut, read_outside


def chain(kinds: str) -> list[Node]:
    """Each step reads the one before it: `c` computes, `r` is a collective."""
    return [
        Node((number - 1,) if number else (), (number,), communicates=kind == "r") for number, kind in enumerate(kinds)
    ]


def test_a_program_without_collectives_is_one_function() -> None:
    assert cut(chain("c" * 100)) == [list(range(100))]


def test_a_collective_that_is_needed_at_once_cuts() -> None:
    assert cut(chain("crcc")) == [[0], [1], [2, 3]]


def test_a_collective_that_needs_nothing_of_the_open_function_starts_before_it() -> None:
    nodes = [Node((), (0,), False), Node((), (1,), True), Node((0,), (2,), False), Node((1, 2), (3,), False)]
    assert cut(nodes) == [[1], [0, 2, 3]]


def test_the_start_of_a_collective_is_put_off_until_the_function_is_worth_a_call() -> None:
    nodes = [Node((), (0,), False), Node((0,), (1,), True)]
    nodes += [Node((0,), (number,), False) for number in range(2, 2 * GRAIN)]
    parts = cut(nodes)
    assert [len(part) for part in parts] == [GRAIN, 1, GRAIN - 1]
    assert parts[1] == [1]


def test_a_function_ends_where_something_is_computed_again() -> None:
    nodes = [Node((), (number,), communicates=False, again=number in (2, 3)) for number in range(5)]
    assert cut(nodes) == [[0, 1], [2, 3, 4]]


@st.composite
def programs(draw: st.DrawFn) -> list[Node]:
    count = draw(st.integers(1, 60))
    nodes = []
    for number in range(count):
        reads = draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else []
        nodes.append(Node(tuple(reads), (number,), draw(st.booleans())))
    return nodes


@settings(deadline=None)
@given(programs())
def test_every_step_runs_once_behind_what_it_reads(nodes: list[Node]) -> None:
    parts = cut(nodes)
    order = [number for part in parts for number in part]
    assert sorted(order) == list(range(len(nodes)))
    done: set[int] = set()
    for number in order:
        assert done.issuperset(nodes[number].operands)
        done.update(nodes[number].results)
    assert all(len(part) == 1 for part in parts if any(nodes[number].communicates for number in part))
    collectives = [number for number in order if nodes[number].communicates]
    assert len(collectives) == sum(node.communicates for node in nodes)


@settings(deadline=None)
@given(programs())
def test_a_function_reads_what_others_make(nodes: list[Node]) -> None:
    parts, returned = cut(nodes), [len(nodes) - 1]
    outside = read_outside(nodes, parts, returned)
    for part in parts:
        later = {value for number, other in enumerate(nodes) if number not in part for value in other.operands}
        reads, writes = crossing(nodes, part, outside)
        made = {value for number in part for value in nodes[number].results}
        assert made.isdisjoint(reads)
        assert set(writes) == made & later.union(returned)
