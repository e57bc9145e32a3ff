"""The search: reduce, bound, and look for cheap choices in the part of the problem that the bound leaves open."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from jogak.search.bounds import Dual
from jogak.search.cores import Cores
from jogak.search.flat import flatten, incidence
from jogak.search.incumbent import Incumbent, Progress
from jogak.search.jit import INFINITY, Ints
from jogak.search.preparation import Prepared, prepare
from jogak.search.primal import Descent
from jogak.search.primal_kernels import enumerate_choices
from jogak.search.problem import Problem, Solution, check_choices

_SMALL = 12
_BUDGET = 3_000_000
# Shares of the time limit: a short first turn settles easy problems, a long second one makes the prices good.
_FIRST_SHARE, _SECOND_SHARE, _LATER_SHARE, _LOCAL_SHARE, _CORE_SHARE = 0.05, 0.35, 0.1, 0.04, 0.15
# The bound has stalled when it gains less than this share of the gap in so many rounds, more where memory has prices.
_STALL, _WATCH, _WATCH_PRICES = 0.02, 48, 144
# The local search is told to stop after so many disturbances in a row without success.
_KICKS, _IDLE = 50, 6


def solve_problem(
    problem: Problem,
    *,
    time_limit: float,
    seed: int = 0,
    target_gap: float = 0.0,
    initial: Sequence[Sequence[int]] = (),
    progress: Callable[[Progress], None] | None = None,
    start: float | None = None,
) -> Solution:
    """Find a cheap feasible choice and a lower bound.

    Args:
        problem: must satisfy `check_problem`.
        time_limit: seconds; the best choice so far is returned then. An interrupt has the same effect.
        seed: of all random decisions.
        target_gap: stop as soon as the gap is at most this; 0 searches until optimality is proven.
        initial: choices to start from, the strategy of each node. Feasible ones are taken as they are, so that the
            answer costs no more than the cheapest of them; all are improved, after repair where memory overflows.
        progress: called whenever the best choice or the bound improves.
        start: value of `time.monotonic()` from which seconds count; now by default.

    Returns:
        The best choice, evaluated exactly, and a bound that no feasible choice can beat.

    Raises:
        JogakError: an initial choice does not name one strategy for each node.
    """
    start = time.monotonic() if start is None else start
    check_choices(problem, initial)
    best = Incumbent(problem, start, progress, target_gap)
    try:
        _search(problem, best, start + time_limit, seed, initial)
    except KeyboardInterrupt:
        return replace(best.solution(), interrupted=True)
    return best.solution()


def _search(problem: Problem, best: Incumbent, deadline: float, seed: int, initial: Sequence[Sequence[int]]) -> None:
    given = [np.array(choice, dtype=np.int64) for choice in initial]
    for choice in given:
        best.offer(choice)
    prepared = prepare(*flatten(problem))
    reduced = prepared.reduced
    if not reduced.possible:
        best.impossible = True
        return
    if _enumerate(prepared, best):
        return
    dual = Dual(reduced.graph, reduced.memory)
    descent = Descent(reduced, seed)
    cores = Cores(prepared, dual, best, np.random.default_rng(seed))
    waiting = [prepared.collapse(choice) for choice in given]
    whole = deadline - best.start
    share = _FIRST_SHARE
    while not best.finished and time.monotonic() < deadline:
        _improve_bound(prepared, dual, descent, best, waiting, min(time.monotonic() + share * whole, deadline))
        _explore(prepared, dual, descent, best, min(time.monotonic() + _LOCAL_SHARE * whole, deadline))
        cores.search(min(time.monotonic() + min(share, _CORE_SHARE) * whole, deadline), whole)
        share = _SECOND_SHARE if share == _FIRST_SHARE else _LATER_SHARE


def _enumerate(prepared: Prepared, best: Incumbent) -> bool:
    """Solve a problem of few variables completely; returns whether that was possible."""
    graph, memory = prepared.reduced.graph, prepared.reduced.memory
    if (graph.states > 1).sum() > _SMALL:
        return False
    choice = np.zeros(graph.size, np.int64)
    cost = enumerate_choices(graph, incidence(graph), memory, INFINITY, _BUDGET, choice)
    if math.isnan(cost):
        return False
    if cost == INFINITY:
        best.impossible = True
    else:
        best.offer(prepared.expand(choice))
        best.raise_bound(INFINITY if best.cost is None else best.cost)
    return True


def _improve_bound(
    prepared: Prepared, dual: Dual, descent: Descent, best: Incumbent, waiting: list[Ints], deadline: float
) -> None:
    """Iterate the dual until it stalls or the deadline; improve the choices that it suggests, and those that wait."""
    rounds, before = 0, dual.bound
    watch = _WATCH if len(dual.prices) == 0 else _WATCH_PRICES
    if best.cost is not None and dual.bound > -INFINITY:
        dual.stride(best.cost - dual.bound)
    while time.monotonic() < deadline:
        if rounds % watch == watch - 1:
            if best.cost is not None and dual.bound - before < _STALL * (best.cost - dual.bound):
                break
            before = dual.bound
        dual.iterate()
        rounds += 1
        if rounds % 8:
            continue
        best.raise_bound(dual.bound)
        found = descent.improve(dual.choice, dual)
        for choice in waiting:
            found += descent.improve(choice, dual, given=True)
        waiting.clear()
        for better in found:
            best.offer(prepared.expand(better))
        if best.finished:
            return
    best.raise_bound(dual.bound)


def _explore(prepared: Prepared, dual: Dual, descent: Descent, best: Incumbent, deadline: float) -> None:
    """Search around the best choice until nothing comes of it or the deadline."""
    idle = 0
    while best.choice is not None and idle < _IDLE and not best.finished and time.monotonic() < deadline:
        states = prepared.collapse(np.array(best.choice, dtype=np.int64))
        idle += 1
        for better in descent.explore(states, dual, _KICKS):
            idle = 0 if best.offer(prepared.expand(better)) else idle
