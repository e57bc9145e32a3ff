"""A lower bound on the added cost for any order, from single moments of the run.

Look at the first computation of a node b. What its ancestors made and its descendants read is, at that moment, either
in memory or made again later, from inputs of which the same is true. Which values to keep is a minimum cut with a
knapsack: keep k, make again r, least cost of r, bytes of k within what the budget leaves beside b itself. Its
least cost bounds every plan, whatever its order and however often it makes a value. Different moments may count the
same repeat, so the bound is the largest one, not their sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from jogak.memory.moments import least_repeats
from jogak.memory.remat.graph import RematGraph
from jogak.memory.remat.sequence import simulate_sequence

_CANDIDATES = 64  # how many moments are looked at
_MOMENTS = 4  # how many of them get a program


class _Moment(NamedTuple):
    """The first computation of a node.

    Attributes:
        node: which one.
        past: its ancestors and itself, as bits.
        crossing: values of the past that its descendants read.
        room: bytes that the budget leaves beside what the node itself reads and makes.
    """

    node: int
    past: int
    crossing: list[int]
    room: int


class MomentBound(NamedTuple):
    """What single moments say about all plans.

    Attributes:
        added: every plan adds at least this cost; infinite when there is no plan.
        starts: sequences in the graph's order that keep and repeat what the programs chose, one for each moment.
            They fit at their moment, not always elsewhere.
    """

    added: float
    starts: list[list[int]]


def added_cost_bound(graph: RematGraph, budget: int, time_limit: float = 5.0) -> MomentBound:
    """What every plan within the budget adds at least, and plans to start from.

    Args:
        graph: nodes numbered in topological order.
        budget: bytes that no step may exceed.
        time_limit: seconds for the solver.
    """

    def missing(moment: _Moment) -> int:
        return sum(graph.bytes[value] for value in moment.crossing) - moment.room

    best, starts = 0.0, []
    for moment in sorted(_moments(graph, budget), key=missing, reverse=True)[:_MOMENTS]:
        if missing(moment) <= 0:
            continue
        found = _program(graph, moment, time_limit / _MOMENTS)
        best = max(best, found.added)
        starts += found.starts
    return MomentBound(best, starts)


def _moments(graph: RematGraph, budget: int) -> Iterator[_Moment]:
    """The moments of the highest memory when everything runs once, in the graph's order."""
    past = _closure(graph.preds, range(len(graph)))
    future = _closure(graph.succs, reversed(range(len(graph))))
    readers = [sum(1 << node for node in nodes) for nodes in graph.readers]
    live = simulate_sequence(graph, range(len(graph))).live
    for node in sorted(range(len(graph)), key=lambda node: -live[node])[:_CANDIDATES]:
        own = {*graph.reads[node], *graph.outputs[node]}
        later, before = future[node] & ~(1 << node), past[node]
        crossing = [v for v, maker in enumerate(graph.makers) if before >> maker & 1 and readers[v] & later]
        need = graph.fixed + graph.scratch_of(node) + sum(graph.bytes[value] for value in own)
        yield _Moment(node, before, [value for value in crossing if value not in own], budget - need)


def _closure(neighbours: list[list[int]], order: Iterable[int]) -> list[int]:
    """Each node and everything that it leads to, as bits; neighbours come first in the order."""
    found = [0] * len(neighbours)
    for node in order:
        found[node] = 1 << node
        for other in neighbours[node]:
            found[node] |= found[other]
    return found


def _program(graph: RematGraph, moment: _Moment, time_limit: float) -> MomentBound:
    """The integer program of one moment: keep each value of the past, or make its node again."""
    own = {*graph.reads[moment.node], *graph.outputs[moment.node]}
    again = _repeatable(graph, moment, own)
    reads = [[value for value in graph.reads[node] if value not in own] for node in again]
    makers, cost = dict(enumerate(graph.makers)), dict(enumerate(graph.cost))
    found = least_repeats(moment.crossing, again, reads, makers, graph.bytes, cost, moment.room, time_limit)
    if found.dropped is None:
        return MomentBound(found.added, [])
    return MomentBound(found.added, [_replay(graph, moment.node, found.dropped)])


def _replay(graph: RematGraph, moment: int, dropped: set[int]) -> list[int]:
    """The graph's order, in which values dropped at the moment are made again just before somebody reads them."""
    sequence = list(range(moment + 1))
    for node in range(moment + 1, len(graph)):
        waiting = [node]
        while waiting:
            lacking = {graph.makers[value] for value in graph.reads[waiting[-1]] if value in dropped}
            if lacking:
                waiting += sorted(lacking)
                continue
            made = waiting.pop()
            if made == node or dropped & {*graph.outputs[made]}:
                sequence.append(made)
                dropped.difference_update(graph.outputs[made])
    return sequence


def _repeatable(graph: RematGraph, moment: _Moment, own: set[int]) -> list[int]:
    """Nodes of the past that may be computed after the moment and lead to a value that crosses it."""
    found: set[int] = set()
    waiting = [graph.makers[value] for value in moment.crossing]
    while waiting:
        node = waiting.pop()
        closed = any(moment.past >> last & 1 for last in graph.lasts[node])
        if node in found or node in graph.single or closed:
            continue
        found.add(node)
        waiting += [graph.makers[value] for value in graph.reads[node] if value not in own]
    return sorted(found)
