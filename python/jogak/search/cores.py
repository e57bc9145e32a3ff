"""Exact search in parts of the problem: few promising states of all variables, or all states of some variables."""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from jogak.search.bounds import Dual
from jogak.search.flat import Graph, incidence
from jogak.search.incumbent import Incumbent
from jogak.search.jit import Bools, Floats, Ints
from jogak.search.memory import Memory
from jogak.search.mip import solve_mip
from jogak.search.preparation import Prepared
from jogak.search.reductions import restrict

# Table entries of the first core problem: HiGHS solves that size to optimality in a few seconds.
_FIRST_CORE = 20_000
_SMALLEST_CORE, _LARGEST_CORE = 2_000, 400_000
_GROW, _SHRINK = 1.3, 0.6
# A core solved within this share of the whole time may grow.
_QUICK = 0.05
# Before any choice is known, better prices help more than a longer search in a core.
_BLIND = 0.02
# HiGHS's bounds hold up to its tolerances.
_MIP_TOLERANCE = 1e-7


class Cores:
    """Solves core problems, in turns around random variables and over the states that the dual finds promising."""

    def __init__(self, prepared: Prepared, dual: Dual, best: Incumbent, random: np.random.Generator) -> None:
        self._prepared, self._dual, self._best, self._random = prepared, dual, best, random
        self._size = float(_FIRST_CORE)
        self._rounds = 0

    def search(self, deadline: float, whole: float) -> None:
        """Solve cores until the deadline; `whole` is the time of the whole search, in seconds."""
        while time.monotonic() < deadline and not self._best.finished:
            begun = time.monotonic()
            blind = self._best.choice is None
            finished = self._solve(min(deadline, begun + _BLIND * whole) if blind else deadline)
            self._rounds += 1
            if blind and self._best.choice is None:
                return
            if not finished:
                self._size = max(self._size * _SHRINK, _SMALLEST_CORE)
            elif time.monotonic() - begun < _QUICK * whole:
                self._size = min(self._size * _GROW, _LARGEST_CORE)

    def _solve(self, deadline: float) -> bool:
        """Solve one core; returns whether it was solved to the end."""
        reduced, best, dual = self._prepared.reduced, self._best, self._dual
        current = None if best.choice is None else self._prepared.collapse(np.array(best.choice, dtype=np.int64))
        free = np.zeros(reduced.graph.size, np.bool_)
        if current is not None and self._rounds % 2:
            free = neighborhood(reduced.graph, int(self._random.integers(reduced.graph.size)), int(self._size) // 2)
        level = dual.age if self._rounds % 4 == 2 else dual.marginals
        allowed, complete = core_states(dual, current, free, level, best.ceiling, int(self._size))
        core = restrict(reduced, allowed, self._prepared.usage)
        if not core.possible:
            best.impossible = complete and current is None
            best.settled = complete
            return True
        result = solve_mip(core.graph, core.memory, deadline)
        if result.choice is not None:
            best.offer(self._prepared.lift(core.expand(result.choice)))
        if complete:
            best.impossible = result.proven and result.choice is None and best.choice is None
            best.raise_bound(min(result.bound, best.ceiling), tolerance=_MIP_TOLERANCE)
            best.settled = result.proven
        return result.proven


def smallest_states(graph: Graph, memory: Memory) -> Ints:
    """For each variable the state with the least usage, summed over the binding times."""
    owner = np.repeat(np.arange(graph.size), np.diff(memory.row_of))
    width = graph.states[owner]
    within = np.arange(len(memory.amount)) - np.repeat(memory.rows, width)
    total = np.zeros(len(graph.unary))
    lengths = np.repeat(memory.upper - memory.lower, width)
    np.add.at(total, np.repeat(graph.first[owner], width) + within, memory.amount * lengths)
    order = np.lexsort((total, np.repeat(np.arange(graph.size), graph.states)))
    return order[graph.first[:-1]] - graph.first[:-1]


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
        base[graph.first[:-1] + smallest_states(graph, dual.memory)] = True
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
