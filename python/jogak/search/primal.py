"""Cheap choices: local descent from what the bound suggests, and the part of the problem worth an exact search."""

from __future__ import annotations

from collections import deque

import numpy as np

from jogak.search.bound_kernels import cost_of, occupy
from jogak.search.bounds import Dual
from jogak.search.flat import Graph, incidence
from jogak.search.jit import INFINITY, Bools, Floats, Ints
from jogak.search.primal_kernels import descend
from jogak.search.reductions import Reduced

_SWEEPS = 12
_REPAIRS = 5


class Descent:
    """Makes choices feasible and then cheaper by single changes."""

    def __init__(self, reduced: Reduced, seed: int) -> None:
        self._reduced = reduced
        self._incidence = incidence(reduced.graph)
        self._random = np.random.default_rng(seed)
        self._best = INFINITY

    def improve(self, dual: Dual) -> list[Ints]:
        """Repair and improve the latest choice of the dual; returns it when it is the best so far, else nothing."""
        graph, memory = self._reduced.graph, self._reduced.memory
        choice = dual.choice.copy()
        profile = np.zeros(len(memory.capacity))
        occupy(graph.first, memory.row_of, memory.lower, memory.upper, memory.rows, memory.amount, choice, profile)
        if not self._repair(choice, profile, dual):
            return []
        self._sweep(choice, profile, INFINITY, _SWEEPS)
        cost = cost_of(graph.first, graph.unary, graph.left, graph.right, graph.table, graph.pair, choice)
        if cost >= self._best:
            return []
        self._best = cost
        return [choice]

    def _repair(self, choice: Ints, profile: Floats, dual: Dual) -> bool:
        capacity = self._reduced.memory.capacity
        price = max(float(dual.prices.max(initial=0.0)), 1e-6 * abs(dual.bound) / max(capacity.sum(), 1.0))
        for _ in range(_REPAIRS):
            if (profile <= capacity).all():
                return True
            self._sweep(choice, profile, price, 2)
            price *= 10
        return bool((profile <= capacity).all())

    def _sweep(self, choice: Ints, profile: Floats, price: float, sweeps: int) -> None:
        graph, memory = self._reduced.graph, self._reduced.memory
        order = self._random.permutation(graph.size)
        for _ in range(sweeps):
            changed = descend(
                graph.first, graph.unary, graph.left, graph.right, graph.table, graph.pair, *self._incidence,
                memory.row_of, memory.lower, memory.upper, memory.rows, memory.amount, memory.capacity, choice,
                profile, order, price,
            )  # fmt: skip
            if changed == 0:
                return


def neighborhood(graph: Graph, center: int, size: int) -> Bools:
    """The variables around `center`, nearest first, with about `size` cost table entries between them."""
    begin, edges = incidence(graph)
    inside = np.zeros(graph.size, np.bool_)
    inside[center] = True
    queue, entries = deque([center]), 0
    while queue and entries < size:
        v = queue.popleft()
        for e in edges[begin[v] : begin[v + 1]].tolist():
            w = int(graph.right[e] if graph.left[e] == v else graph.left[e])
            entries += int(graph.table[e + 1] - graph.table[e])
            if not inside[w] and entries < size:
                inside[w] = True
                queue.append(w)
    return inside


def core_states(
    dual: Dual, current: Ints | None, free: Bools, level: Floats, ceiling: float, size: int
) -> tuple[Bools, bool]:
    """Choose the states of a smaller problem: those with the lowest level, and all states of some variables.

    Args:
        current: the best choice, whose states are included; -1 where the reductions removed its state.
        free: the variables all of whose states are kept.
        level: of each state.
        ceiling: states that cannot be part of a cheaper choice are left out in any case.
        size: number of cost table entries to keep.

    Returns:
        For each state whether to keep it, and whether only states were left out that the bound rules out.
    """
    graph = dual.graph
    open_ = dual.marginal_bound + dual.marginals < ceiling
    base = open_ & np.repeat(free, graph.states)
    if current is None:
        base[graph.first[:-1] + dual.choice] = True
    else:
        base[(graph.first[:-1] + current)[current >= 0]] = True
    levels = np.unique(level[open_])
    low, high = 0, len(levels)
    while low < high:
        middle = (low + high) // 2
        if _entries(graph, base | (open_ & (level <= levels[middle]))) <= size:
            low = middle + 1
        else:
            high = middle
    kept = base | (open_ & (level <= levels[low - 1])) if low > 0 else base
    return kept, bool((kept | ~open_).all())


def _entries(graph: Graph, allowed: Bools) -> int:
    kept = np.add.reduceat(allowed.astype(np.int64), graph.first[:-1])
    return int((kept[graph.left] * kept[graph.right]).sum())
