"""The search: reduce, bound, and look for cheap choices in the part of the problem that the bound leaves open."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from jogak.search.bounds import Dual
from jogak.search.cores import Cores
from jogak.search.flat import flatten, incidence
from jogak.search.incumbent import Incumbent, Progress
from jogak.search.jit import INFINITY
from jogak.search.primal import Descent
from jogak.search.primal_kernels import enumerate_choices
from jogak.search.problem import Problem, Solution
from jogak.search.reductions import Reduced, reduce

_SMALL = 12
_BUDGET = 3_000_000
# Shares of the time limit: a short first turn settles easy problems, a long second one makes the prices good.
_FIRST_SHARE, _SECOND_SHARE, _LATER_SHARE, _CORE_SHARE = 0.05, 0.35, 0.1, 0.15


def solve_problem(
    problem: Problem,
    *,
    time_limit: float,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
    start: float | None = None,
) -> Solution:
    """Find a cheap feasible choice and a lower bound.

    Args:
        problem: must satisfy `check_problem`.
        time_limit: seconds; the best choice so far is returned then. An interrupt has the same effect.
        seed: the order in which local descent visits variables depends on it.
        progress: called whenever the best choice or the bound improves.
        start: value of `time.monotonic()` from which seconds count; now by default.

    Returns:
        The best choice, evaluated exactly, and a bound that no feasible choice can beat.
    """
    start = time.monotonic() if start is None else start
    best = Incumbent(problem, start, progress)
    try:
        _search(problem, best, start + time_limit, seed)
    except KeyboardInterrupt:
        return best.solution()
    return best.solution()


def _search(problem: Problem, best: Incumbent, deadline: float, seed: int) -> None:
    graph, usage = flatten(problem)
    reduced = reduce(graph, usage)
    if not reduced.possible:
        best.impossible = True
        return
    if _enumerate(reduced, best):
        return
    dual = Dual(reduced.graph, reduced.memory)
    descent = Descent(reduced, seed)
    cores = Cores(reduced, usage, dual, best, np.random.default_rng(seed))
    whole = deadline - best.start
    share = _FIRST_SHARE
    while not best.proven and time.monotonic() < deadline:
        _improve_bound(reduced, dual, descent, best, min(time.monotonic() + share * whole, deadline))
        cores.search(min(time.monotonic() + _CORE_SHARE * whole, deadline), whole)
        share = _SECOND_SHARE if share == _FIRST_SHARE else _LATER_SHARE


def _enumerate(reduced: Reduced, best: Incumbent) -> bool:
    """Solve a problem of few variables completely; returns whether that was possible."""
    graph, memory = reduced.graph, reduced.memory
    if (graph.states > 1).sum() > _SMALL:
        return False
    choice = np.zeros(graph.size, np.int64)
    cost = enumerate_choices(
        graph.first, graph.unary, graph.left, graph.right, graph.table, graph.pair, *incidence(graph),
        memory.segments, memory.capacity, INFINITY, _BUDGET, choice,
    )  # fmt: skip
    if math.isnan(cost):
        return False
    if cost == INFINITY:
        best.impossible = True
    else:
        best.offer(reduced.expand(choice))
        best.raise_bound(INFINITY if best.cost is None else best.cost)
    return True


def _improve_bound(reduced: Reduced, dual: Dual, descent: Descent, best: Incumbent, deadline: float) -> None:
    """Iterate the dual until the deadline, and improve the choices that it suggests."""
    rounds = 0
    if best.cost is not None:
        dual.stride(best.cost - dual.bound)
    while time.monotonic() < deadline:
        dual.iterate()
        rounds += 1
        if rounds % 8:
            continue
        best.raise_bound(dual.bound)
        for choice in descent.improve(dual):
            best.offer(reduced.expand(choice))
        if best.proven:
            return
    best.raise_bound(dual.bound)
