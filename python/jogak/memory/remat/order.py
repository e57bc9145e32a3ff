"""The order of operations for a low peak, without computing anything twice.

Beam search over sets of finished nodes: what is live depends on the set alone, not on the order in it. As long as no
set had to be dropped, the search is the exact dynamic program over all orders.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

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
    masks = [sum(1 << succ for succ in succs) for succs in graph.succs]
    needs = [sum(1 << pred for pred in preds) for preds in graph.preds]
    start = _State(0, 0, tuple(node for node in range(len(graph)) if not graph.preds[node]), None)
    beam, complete = [start], True
    for _ in range(len(graph)):
        level: dict[int, _State] = {}
        for state in beam:
            for after in _steps(graph, state, limit, masks, needs):
                level.setdefault(after.done, after)
        complete = complete and len(level) <= width
        beam = heapq.nsmallest(width, level.values(), key=lambda state: (state.live, state.done))
        if not beam:
            return None, complete
    return _unwind(beam[0].trail), complete


def _steps(graph: RematGraph, state: _State, limit: int, masks: list[int], needs: list[int]) -> list[_State]:
    """The states after one more node; only one when a node fits and frees at least what it adds.

    Such a node may as well run now: no later moment gets worse by it.
    """
    found: list[_State] = []
    for node in state.ready:
        during = state.live + graph.size[node]
        if during + graph.scratch_of(node) > limit:
            continue
        done = state.done | 1 << node
        freed = sum(graph.size[pred] for pred in graph.preds[node] if not masks[pred] & ~done)
        if not graph.succs[node]:
            freed += graph.size[node]
        opened = (succ for succ in graph.succs[node] if not needs[succ] & ~done)
        ready = (*(other for other in state.ready if other != node), *opened)
        after = _State(during - freed, done, ready, (node, state.trail))
        if after.live <= state.live:
            return [after]
        found.append(after)
    return found


def _unwind(trail: object) -> list[int]:
    order: list[int] = []
    while isinstance(trail, tuple):
        node, trail = trail
        order.append(node)
    return order[::-1]
