"""The order of operations for a low peak, without computing anything twice.

Beam search over sets of finished nodes: what is live depends on the set alone, not on the order in it. As long as no
set had to be dropped, the search is the exact dynamic program over all orders.
"""

from __future__ import annotations

from typing import NamedTuple

from jogak.memory.beam import beam_search, unwind
from jogak.memory.remat.graph import RematGraph
from jogak.memory.remat.sequence import simulate_sequence


class LowOrder(NamedTuple):
    """An order and what is known about it.

    Attributes:
        order: every node once.
        peak: its live bytes.
        optimal: whether no order has a lower peak.
    """

    order: list[int]
    peak: int
    optimal: bool


class _State(NamedTuple):
    live: int
    done: int
    ready: tuple[int, ...]
    trail: tuple[int, object] | None

    @property
    def key(self) -> int:
        """What is live depends on the finished nodes alone."""
        return self.done


def low_order(graph: RematGraph, budget: int = 0, width: int = 200) -> LowOrder:
    """Find an order with a low peak; never worse than the graph's own.

    Args:
        graph: nodes numbered in topological order.
        budget: a peak that is low enough: the search stops there.
        width: how many sets of finished nodes to keep at every step.
    """
    best = LowOrder(list(range(len(graph))), simulate_sequence(graph, range(len(graph))).peak, False)
    while best.peak > budget:
        found, complete = _beam(graph, best.peak - 1, width)
        if found is None:
            return best._replace(optimal=complete)
        best = LowOrder(found, simulate_sequence(graph, found).peak, False)
    return best


def _beam(graph: RematGraph, limit: int, width: int) -> tuple[list[int] | None, bool]:
    """An order whose peak is within the limit, and whether the search saw every order."""
    links = _links(graph)

    def steps(state: _State) -> list[_State]:
        return _steps(graph, state, limit, links)

    last, complete = beam_search(_start(graph, links), steps, len(graph) - len(graph.arguments), width)
    return None if last is None else unwind(last.trail), complete


class _Links(NamedTuple):
    """Sets of nodes as bits: who reads each value, what each node waits for; and who waits for each node."""

    readers: list[int]
    needs: list[int]
    later: list[list[int]]


def _links(graph: RematGraph) -> _Links:
    needs = [sum(1 << pred for pred in preds) for preds in graph.preds]
    later = [set(succs) for succs in graph.succs]
    for node, last in graph.before:
        needs[last] |= 1 << node
        later[node].add(last)
    return _Links([sum(1 << node for node in nodes) for nodes in graph.readers], needs, [sorted(x) for x in later])


def _start(graph: RematGraph, links: _Links) -> _State:
    """The state in which the arguments are there and nothing else is."""
    done = sum(1 << node for node in graph.arguments)
    values = (value for node in graph.arguments for value in graph.outputs[node] if links.readers[value])
    ready = (node for node in range(len(graph)) if not links.needs[node] & ~done and node not in graph.arguments)
    trail: tuple[int, object] | None = None
    for node in sorted(graph.arguments):
        trail = (node, trail)
    return _State(graph.fixed + sum(graph.bytes[value] for value in values), done, tuple(ready), trail)


def _steps(graph: RematGraph, state: _State, limit: int, links: _Links) -> list[_State]:
    """The states after one more node; only one when a node fits and frees at least what it adds.

    Such a node may as well run now: no later moment gets worse by it.
    """
    found: list[_State] = []
    for node in state.ready:
        during = state.live + sum(graph.bytes[value] for value in graph.outputs[node])
        if during + graph.scratch_of(node) > limit:
            continue
        done = state.done | 1 << node
        touched = (*graph.reads[node], *graph.outputs[node])
        freed = sum(graph.bytes[value] for value in touched if not links.readers[value] & ~done)
        opened = (other for other in links.later[node] if not links.needs[other] & ~done)
        ready = (*(other for other in state.ready if other != node), *opened)
        after = _State(during - freed, done, ready, (node, state.trail))
        if after.live <= state.live:
            return [after]
        found.append(after)
    return found
