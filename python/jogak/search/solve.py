"""The search: reduce, bound, and look for cheap choices in the part of the problem that the bound leaves open."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from jogak.search.bounds import Dual
from jogak.search.flat import Usage, flatten, incidence
from jogak.search.incumbent import Incumbent, Progress
from jogak.search.jit import INFINITY
from jogak.search.mip import solve_mip
from jogak.search.primal import Descent, core_states, neighborhood
from jogak.search.primal_kernels import enumerate_choices
from jogak.search.problem import Problem, Solution
from jogak.search.reductions import Reduced, reduce, restrict

DEBUG=1
_SMALL = 12
_BUDGET = 3_000_000
# Table entries of the first core problem: HiGHS solves that size to optimality in a few seconds.
_FIRST_CORE = 20_000
_SMALLEST_CORE, _LARGEST_CORE = 2_000, 400_000
# HiGHS's bounds hold up to its tolerances.
_MIP_TOLERANCE = 2e-6


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
    random = np.random.default_rng(seed)
    size, rounds = float(_FIRST_CORE), 0
    share = 0.05
    while not best.proven and time.monotonic() < deadline:
        whole = deadline - best.start
        _improve_bound(reduced, dual, descent, best, min(time.monotonic() + share * whole, deadline))
        until = min(time.monotonic() + 0.15 * whole, deadline)
        while time.monotonic() < until and not best.proven:
            center = int(random.integers(reduced.graph.size)) if rounds % 2 else -1 - rounds // 2 % 2
            rounds += 1
            took, finished = _solve_core(reduced, usage, dual, best, center, int(size), until)
            if DEBUG: print("      core", center, int(size), "took %.1f"%took, finished, best.cost)
            if finished and took < 0.05 * whole:
                size = min(size * 1.3, _LARGEST_CORE)
            elif not finished:
                size = max(size * 0.6, _SMALLEST_CORE)
        share = 0.35 if share == 0.05 else 0.1


def _enumerate(reduced: Reduced, best: Incumbent) -> bool:
    """Solve a problem of few variables completely; returns whether that was possible."""
    graph, memory = reduced.graph, reduced.memory
    if (graph.states > 1).sum() > _SMALL:
        return False
    choice = np.zeros(graph.size, np.int64)
    cost = enumerate_choices(
        graph.first, graph.unary, graph.left, graph.right, graph.table, graph.pair, *incidence(graph),
        memory.row_of, memory.lower, memory.upper, memory.rows, memory.amount, memory.capacity, INFINITY, _BUDGET,
        choice,
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


def _solve_core(
    reduced: Reduced, usage: Usage, dual: Dual, best: Incumbent, center: int, size: int, deadline: float
) -> tuple[float, bool]:
    """Solve the problem over the states that the bound finds promising; returns seconds and whether it was solved."""
    begun = time.monotonic()
    current = None if best.choice is None else reduced.collapse(np.array(best.choice, dtype=np.int64))
    free = np.zeros(reduced.graph.size, np.bool_)
    if center >= 0 and current is not None:
        free = neighborhood(reduced.graph, center, size // 2)
    level = dual.age if center == -2 else dual.marginals
    allowed, complete = core_states(dual, current, free, level, best.ceiling, size)
    core = restrict(reduced, allowed, usage)
    if not core.possible:
        if complete:
            best.impossible = best.cost is None
        return time.monotonic() - begun, True
    result = solve_mip(core.graph, core.memory, None, deadline)
    if result.choice is not None:
        best.offer(core.expand(result.choice))
    if complete and result.proven and result.choice is None and best.cost is None:
        best.impossible = True
    if complete:
        best.raise_bound(min(result.bound, best.ceiling), tolerance=_MIP_TOLERANCE)
    return time.monotonic() - begun, result.proven
