"""Least added cost for a fixed order, by constraint programming over retention intervals.

A second formulation, independent of `exact`, after MOCCASIN (Bartan et al., "Moccasin: Efficient Tensor
Rematerialization for Neural Networks", ICML 2023): every node has some intervals during which its value is kept, an
interval starts with a computation of the node, memory is one cumulative constraint. Time has a point for each node in
each stage, so that the order in a stage is that of the graph.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ortools.sat.python import cp_model

from jogak.memory.remat.exact import ExactResult
from jogak.memory.remat.graph import RematGraph
from jogak.memory.remat.reduce import Choices, possible_choices

_COSTS = 10**12  # the cost of one run of every node is at most this many integer units
_LARGEST = 10**12  # memory is scaled down to at most this many units


def interval_count(graph: RematGraph, cap: float) -> float:
    """How many intervals a model needs that leaves out no plan with an added cost of at most `cap`."""
    return len(graph) + sum(possible_choices(graph, cap).repeats)


def solve_intervals(
    graph: RematGraph,
    budget: int,
    time_limit: float,
    cap: float = math.inf,
    computations: float = math.inf,
    threads: int = 1,
) -> ExactResult:
    """Find the plan with the least added cost in which first computations keep to the order 0, 1, 2, ….

    Args:
        graph: nodes numbered in topological order.
        budget: bytes that no step may exceed.
        time_limit: seconds.
        cap: added cost of a plan that is known; costlier plans are not looked for.
        computations: how often a node may be computed at most. With fewer than `cap` allows, the model is small and
            quick, but its bound holds only for plans with as few, and `proven` is False.
        threads: how many the solver uses.
    """
    choices = possible_choices(graph, cap)
    budget -= graph.fixed
    model = _Model(graph, choices, computations)
    model.read()
    model.fit(budget)
    model.pay(cap)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = time_limit
    solver.parameters.num_workers = threads
    status = solver.solve(model.model)
    complete = all(repeats < computations for repeats in choices.repeats)
    if status == cp_model.INFEASIBLE:
        return ExactResult(None, math.inf, complete)
    bound = max(0.0, solver.best_objective_bound) * model.unit
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return ExactResult(None, bound, False)
    return ExactResult(model.sequence(solver), bound, complete and status == cp_model.OPTIMAL)


def _cost_unit(graph: RematGraph) -> float:
    """What counts as 1: the greatest common divisor of whole costs, if it is coarse enough."""
    if all(float(cost).is_integer() for cost in graph.cost):
        unit = math.gcd(*(int(cost) for cost in graph.cost))
        if 0 < graph.total_cost <= unit * _COSTS:
            return unit
    return max(graph.total_cost / _COSTS, 1e-300)


def _point(stage: int, node: int) -> int:
    return stage * (stage + 1) // 2 + node


class _Interval(NamedTuple):
    node: int
    start: cp_model.IntVar | int
    end: cp_model.IntVar
    active: cp_model.IntVar | None


class _Model:
    def __init__(self, graph: RematGraph, choices: Choices, computations: float) -> None:
        self.model, self.graph, self.choices = cp_model.CpModel(), graph, choices
        self.unit = _cost_unit(graph)
        self.intervals: list[list[_Interval]] = []
        for node, repeats in enumerate(choices.repeats):
            self.intervals.append([self._first(node)])
            for _ in range(int(min(repeats, computations - 1))):
                self._repeat(node)

    def _first(self, node: int) -> _Interval:
        start, last = _point(node, node), self._last_point(node)
        return _Interval(node, start, self.model.new_int_var(start, last, f"end{node}"), None)

    def _last_point(self, node: int) -> int:
        horizon = self.choices.horizon[node]
        return _point(horizon, horizon)

    def _repeat(self, node: int) -> None:
        model, before = self.model, self.intervals[node][-1]
        stages = range(node + 1, self.choices.horizon[node] + 1)
        domain = cp_model.Domain.from_values([_point(stage, node) for stage in stages])
        start = model.new_int_var_from_domain(domain, f"start{node}")
        end = model.new_int_var(_point(node + 1, node), self._last_point(node), f"end{node}")
        active = model.new_bool_var(f"active{node}")
        model.add(start > before.end).only_enforce_if(active)
        if before.active is not None:
            model.add_implication(active, before.active)
        self.intervals[node].append(_Interval(node, start, end, active))

    def read(self) -> None:
        """Every computation happens inside one interval of each of its inputs."""
        for node in range(len(self.graph)):
            for reader in self.intervals[node]:
                for pred in self.graph.preds[node]:
                    self._read(reader, self.intervals[pred])

    def _read(self, reader: _Interval, sources: list[_Interval]) -> None:
        model = self.model
        uses = [model.new_bool_var("use") for _ in sources]
        model.add(sum(uses) == (1 if reader.active is None else reader.active))
        for use, source in zip(uses, sources, strict=True):
            model.add(source.end >= reader.start).only_enforce_if(use)
            model.add(source.start < reader.start).only_enforce_if(use)
            if source.active is not None:
                model.add_implication(use, source.active)

    def fit(self, budget: int) -> None:
        """All intervals and scratch together stay in the budget at every point."""
        unit = max(1, -(-budget // _LARGEST))
        spans: list[cp_model.IntervalVar] = []
        sizes: list[int] = []
        for interval in (interval for intervals in self.intervals for interval in intervals):
            for end, size in (
                (interval.end + 1, self.graph.size[interval.node]),
                (interval.start + 1, self.graph.scratch_of(interval.node)),
            ):
                if size > 0:
                    spans.append(self._span(interval, end))
                    sizes.append(-(-size // unit))
        self.model.add_cumulative(spans, sizes, max(budget, 0) // unit)

    def _span(self, interval: _Interval, end: cp_model.LinearExprT) -> cp_model.IntervalVar:
        length = self.model.new_int_var(1, _point(len(self.graph), 0), "length")
        if interval.active is None:
            return self.model.new_interval_var(interval.start, length, end, "kept")
        return self.model.new_optional_interval_var(interval.start, length, end, interval.active, "kept")

    def pay(self, cap: float) -> None:
        """The objective: what the repeats cost, rounded down to units so that it stays a bound."""
        cost = sum(
            math.floor(self.graph.cost[interval.node] / self.unit) * interval.active
            for intervals in self.intervals
            for interval in intervals
            if interval.active is not None
        )
        if not math.isinf(cap):
            self.model.add(cost <= math.ceil(cap / self.unit))
        self.model.minimize(cost)

    def sequence(self, solver: cp_model.CpSolver) -> list[int]:
        """The nodes in the order of the points at which they are computed."""
        points = [
            (solver.value(interval.start), interval.node)
            for intervals in self.intervals
            for interval in intervals
            if interval.active is None or solver.value(interval.active)
        ]
        return [node for _, node in sorted(points)]
