"""A budget in bytes becomes a sequence of computations that keeps to it, with the least added cost that was found."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from jogak.errors import JogakError
from jogak.memory.remat.bound import added_cost_bound
from jogak.memory.remat.chain import Chain, chain_plan, chain_slots, find_chain
from jogak.memory.remat.graph import RematGraph, check_graph, minimum_peak
from jogak.memory.remat.order import LowOrder, low_order
from jogak.memory.remat.sequence import Simulation, simulate_sequence
from jogak.memory.remat.states import solve_states

Mode = Literal["auto", "exact", "fast"]

_EXACT_NODES = 200  # `auto` tries to prove plans of graphs up to this size
_STATE_NODES, _STATES = 20, 4_000  # `auto` searches the states of graphs up to this size in free order
_FIRST_WORK = 6_000  # nodes times width of the first search for a low order
_ORDER_WORK = 150_000  # nodes times width of the widest search for a low order


@dataclass(frozen=True)
class RematResult:
    """A plan and what is known about it.

    Attributes:
        base_peak: bytes when every node runs once in the graph's order.
        peak: bytes of the plan, at most the budget; None without a plan.
        added_time_percent: cost of the repeats in percent of one run of every node; None without a plan.
        lower_bound_percent: no plan adds less; None when it is proven that no plan exists.
        optimal: whether the answer is proven: no plan adds less, or no plan exists.
        feasible: whether there is a plan.
        minimum_peak_bound: bytes that no plan whatsoever can go below.
        seconds: wall time.
        sequence: names of the nodes in the order of computation, with repeats; empty without a plan.
    """

    base_peak: int
    peak: int | None
    added_time_percent: float | None
    lower_bound_percent: float | None
    optimal: bool
    feasible: bool
    minimum_peak_bound: int
    seconds: float
    sequence: list[Hashable]


class _Answer(NamedTuple):
    """A plan, the added cost that no plan goes below (infinite when none exists)."""

    sequence: list[int] | None
    bound: float


def solve_remat(
    graph: RematGraph,
    budget_bytes: int,
    *,
    fixed_order: bool = False,
    time_limit: float = 60.0,
    mode: Mode = "auto",
    starts: Sequence[Sequence[int]] = (),
) -> RematResult:
    """Plan what to compute again so that no step needs more than a budget.

    Two calls with different budgets know nothing of each other; `solve_frontier` never pays more for a larger one.

    Args:
        graph: the computation.
        budget_bytes: what no step may exceed.
        fixed_order: nodes run for the first time in the graph's order, and between two of them earlier nodes repeat
            at most once each, in that order, too. Otherwise the order is free.
        time_limit: seconds; the result does not depend on it unless it runs out.
        mode: `exact` proves the plan (fixed order only), `fast` does not try to, `auto` proves small graphs.
        starts: sequences to start from, for example plans for other budgets.

    Raises:
        JogakError: the graph is malformed, or `exact` is asked for a free order.
    """
    return _solve(graph, budget_bytes, fixed_order, time_limit, mode, starts, [])


def _solve(
    graph: RematGraph,
    budget_bytes: int,
    fixed_order: bool,
    time_limit: float,
    mode: Mode,
    starts: Sequence[Sequence[int]],
    lowest: list[LowOrder],
) -> RematResult:
    """`solve_remat`; `lowest` keeps the order with the lowest peak from one budget to the next larger one."""
    begin = time.monotonic()
    check_graph(graph)
    if mode == "exact" and not fixed_order:
        raise JogakError("there is no exact mode for a free order", hint="fix the order, or use the mode fast or auto")
    if mode == "exact" and (graph.extra or graph.before):
        raise JogakError(
            "the exact mode knows neither nodes with several values nor `before`", hint="use the mode fast or auto"
        )
    ordered = graph.in_order()
    place = {node: index for index, node in enumerate(graph.order)}
    task = _Task(ordered, budget_bytes, fixed_order, mode, begin + time_limit, lowest)
    answer = task.answer([[place[node] for node in start] for start in starts])
    return _result(task, answer, time.monotonic() - begin)


def _result(task: _Task, answer: _Answer, seconds: float) -> RematResult:
    graph, base, total = task.graph, task.base, max(task.graph.total_cost, 1e-300)
    bound = None if math.isinf(answer.bound) else 100 * answer.bound / total
    minimum = minimum_peak(graph)
    if answer.sequence is None:
        return RematResult(base.peak, None, None, bound, bound is None, False, minimum, seconds, [])
    found = simulate_sequence(graph, answer.sequence)
    if found.peak > task.budget:
        raise RuntimeError(f"the plan needs {found.peak} bytes, more than the budget of {task.budget}")
    added = 100 * (found.cost - base.cost) / total
    bound = min(added, bound or 0.0)
    names = [graph.name(node) for node in answer.sequence]
    optimal = added - bound <= 2e-6 * max(added, 1e-3)
    return RematResult(base.peak, found.peak, added, bound, optimal, True, minimum, seconds, names)


@dataclass(frozen=True)
class _Task:
    """One question, over nodes numbered in topological order."""

    graph: RematGraph
    budget: int
    fixed_order: bool
    mode: Mode
    deadline: float
    lowest: list[LowOrder]

    @property
    def base(self) -> Simulation:
        return simulate_sequence(self.graph, range(len(self.graph)))

    def answer(self, starts: Sequence[list[int]]) -> _Answer:
        if minimum_peak(self.graph) > self.budget:
            return _Answer(None, math.inf)
        if self.base.peak <= self.budget:
            return _Answer(list(range(len(self.graph))), 0.0)
        chain = find_chain(self.graph)
        if chain:
            return self._chain(chain)
        moments = added_cost_bound(self.graph, self.budget, 0.2 * self._left())
        if math.isinf(moments.added):
            return _Answer(None, math.inf)
        starts = [*moments.starts, *starts]
        if not self.fixed_order:
            order, complete = self._low_order()
            if simulate_sequence(self.graph, order).peak <= self.budget:
                return _Answer(order, 0.0)
            least = self._cheapest_repeat() if complete else 0.0
            return self._free([*starts, order], max(least, moments.added))
        plain = not self.graph.extra and not self.graph.before
        exact = plain and (self.mode == "exact" or (self.mode == "auto" and len(self.graph) <= _EXACT_NODES))
        bound = max(self._cheapest_repeat(), moments.added)
        found = self._fast(starts, 0.3 if exact else 1.0, bound)
        if found is not None and self._added(found) <= bound * (1 + 2e-6):
            return _Answer(found, bound)
        return self._exact(found, bound) if exact else _Answer(found, bound)

    def _free(self, starts: Sequence[list[int]], bound: float) -> _Answer:
        if len(self.graph) <= _STATE_NODES and self.mode == "auto":
            exact = solve_states(self.graph, self.budget, _STATES)
            if exact.proven:
                return _Answer(exact.sequence, exact.bound)
            bound = max(bound, exact.bound)
        return _Answer(self._fast(starts, 1.0, bound), bound)

    def _chain(self, chain: Chain) -> _Answer:
        slots = chain_slots(self.graph, chain, self.budget)
        if slots < 1:
            return _Answer(None, math.inf)
        sequence = chain_plan(chain, slots)
        return _Answer(sequence, self._added(sequence))

    def _cheapest_repeat(self) -> float:
        """What any plan adds at least when the order alone does not fit."""
        repeatable = [
            node for node in range(len(self.graph)) if self.graph.succs[node] and node not in self.graph.single
        ]
        return min((self.graph.cost[node] for node in repeatable), default=math.inf)

    def _low_order(self) -> tuple[list[int], bool]:
        """An order that fits, or the lowest one found and whether it is proven that none fits.

        A larger budget only ends the same search earlier, so what it found for a smaller one is all it will find.
        """
        if not self.lowest:
            self.lowest.append(self._search_order())
        return self.lowest[0].order, self.lowest[0].optimal

    def _search_order(self) -> LowOrder:
        best = low_order(self.graph, self.budget, max(1, min(20, _FIRST_WORK // len(self.graph))))
        for width in (200, 1000):
            if best.peak > self.budget and not best.optimal and len(self.graph) * width <= _ORDER_WORK:
                best = min(best, low_order(self.graph, self.budget, width), key=lambda low: (low.peak, not low.optimal))
        return best

    def _fast(self, starts: Sequence[Sequence[int]], share: float, enough: float) -> list[int] | None:
        from jogak.memory.remat.fast import Search, fast_plan

        now = time.monotonic()
        deadline = now + share * (self.deadline - now)
        search = Search(self.budget, self.base.cost + enough * (1 + 2e-6), deadline, self.fixed_order)
        return fast_plan(self.graph, search, starts)

    def _exact(self, found: list[int] | None, bound: float) -> _Answer:
        from jogak.memory.remat.exact import solve_stages
        from jogak.memory.remat.intervals import interval_count, solve_intervals

        cap = math.inf if found is None else self._added(found)
        if interval_count(self.graph, cap) <= 5 * len(self.graph):
            exact = solve_intervals(self.graph, self.budget, self._left(), cap)
        else:
            exact = solve_stages(self.graph, self.budget, self._left(), cap)
        if exact.proven and exact.sequence is None:
            return _Answer(found, cap)
        return _Answer(_cheaper(self.graph, found, exact.sequence), max(bound, exact.bound))

    def _left(self) -> float:
        return max(self.deadline - time.monotonic(), 1.0)

    def _added(self, sequence: Sequence[int]) -> float:
        return simulate_sequence(self.graph, sequence).cost - self.base.cost


def _cheaper(graph: RematGraph, *sequences: list[int] | None) -> list[int] | None:
    found = [sequence for sequence in sequences if sequence is not None]
    return min(found, key=lambda sequence: simulate_sequence(graph, sequence).cost, default=None)


def solve_frontier(
    graph: RematGraph,
    budgets: Iterable[int],
    *,
    fixed_order: bool = False,
    time_limit: float = 60.0,
    mode: Mode = "auto",
) -> list[RematResult]:
    """Solve for several budgets; a larger budget never has a costlier plan, nor none where a smaller one has.

    Goes from the smallest budget to the largest; the plan of a smaller budget also is one for every larger one.

    Args:
        graph: the computation.
        budgets: bytes, in any order.
        fixed_order, mode: as in `solve_remat`.
        time_limit: seconds for each budget.

    Returns:
        One result for each budget, in the order of `budgets`.
    """
    budgets = list(budgets)
    numbers = {graph.name(node): node for node in range(len(graph))}
    results: dict[int, RematResult] = {}
    best: RematResult | None = None
    lowest: list[LowOrder] = []
    for budget in sorted(set(budgets)):
        starts = [[numbers[name] for name in best.sequence]] if best else []
        found = _solve(graph, budget, fixed_order, time_limit, mode, starts, lowest)
        if best and _added(best) < _added(found):
            found = _reuse(found, best)
        if found.feasible:
            best = found
        results[budget] = found
    return [results[budget] for budget in budgets]


def _added(result: RematResult) -> float:
    return math.inf if result.added_time_percent is None else result.added_time_percent


def _reuse(found: RematResult, best: RematResult) -> RematResult:
    """The plan of a smaller budget with the bound of this one."""
    bound = min(found.lower_bound_percent or 0.0, best.added_time_percent or 0.0)
    return replace(best, lower_bound_percent=bound, optimal=bound == best.added_time_percent, seconds=found.seconds)
