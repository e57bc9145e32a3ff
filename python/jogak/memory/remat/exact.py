"""Least added cost for a fixed order, by mixed-integer programming, with a proof.

Stages and variables are those of Checkmate (Jain et al., "Checkmate: Breaking the Memory Wall with Optimal Tensor
Rematerialization", MLSys 2020): stage t computes node t for the first time, after repeats of earlier nodes in their
order; R[t, v] says that v is computed in stage t, S[t, v] that its value is kept from stage t - 1 into stage t.
The memory of a step is written with continuous variables instead of Checkmate's bits for "freed here": the need
for v from its m-th reader in stage t on is at least R of that reader and at least the need from the next reader on;
the need after the last reader is S[t + 1, v].
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from jogak.memory.remat.graph import RematGraph
from jogak.memory.remat.reduce import Choices, possible_choices
from jogak.search.jit import Floats


class ExactResult(NamedTuple):
    """What an exact search found out.

    Attributes:
        sequence: the best plan found; None when there is none, or none was found.
        bound: no plan has a lower added cost; infinite when no plan exists.
        proven: whether the plan is optimal, or proven not to exist.
    """

    sequence: list[int] | None
    bound: float
    proven: bool


def solve_stages(graph: RematGraph, budget: int, time_limit: float, cap: float = math.inf) -> ExactResult:
    """Find the plan with the least added cost in which first computations keep to the order 0, 1, 2, ….

    Args:
        graph: nodes numbered in topological order.
        budget: bytes that no step may exceed.
        time_limit: seconds.
        cap: added cost of a plan that is known; costlier plans are not looked for.
    """
    deadline = time.monotonic() + time_limit
    budget -= graph.fixed
    model = _Model()
    stages = _Stages(model, graph, possible_choices(graph, cap))
    stages.link()
    stages.remember(budget)
    if not math.isinf(cap):
        unit = _unit(graph)
        terms = [(index, graph.cost[node] / unit) for (_, node), index in stages.again.items()]
        model.add(terms, -math.inf, cap / unit * (1 + 1e-9))
    return stages.solve(deadline)


def _unit(graph: RematGraph) -> float:
    """The cost that counts as 1 for the solver: a thousandth of one run."""
    return max(graph.total_cost / 1000, 1e-300)


class _Model:
    """Rows and columns of a mixed-integer program, collected one by one."""

    def __init__(self) -> None:
        self.objective: list[float] = []
        self.integral: list[int] = []
        self.rows: list[list[tuple[int, float]]] = []
        self.low: list[float] = []
        self.high: list[float] = []

    def variable(self, cost: float = 0.0, *, integral: bool) -> int:
        """A variable in [0, 1]."""
        self.objective.append(cost)
        self.integral.append(int(integral))
        return len(self.objective) - 1

    def add(self, terms: Iterable[tuple[int, float]], low: float, high: float) -> None:
        """Require low <= sum(factor * variable) <= high."""
        self.rows.append(list(terms))
        self.low.append(low)
        self.high.append(high)

    def minimise(self, time_limit: float) -> Any:
        lengths = [len(row) for row in self.rows]
        columns = np.fromiter((index for row in self.rows for index, _ in row), dtype=np.int32, count=sum(lengths))
        factors = np.fromiter((factor for row in self.rows for _, factor in row), dtype=np.float64, count=sum(lengths))
        matrix = csr_array((factors, columns, np.cumsum([0, *lengths])), shape=(len(self.rows), len(self.objective)))
        return milp(
            np.array(self.objective),
            integrality=np.array(self.integral),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(matrix, np.array(self.low), np.array(self.high)),
            options={"time_limit": max(time_limit, 0.1), "mip_rel_gap": 1e-7},
        )


class _Stages:
    """The variables of all stages."""

    def __init__(self, model: _Model, graph: RematGraph, choices: Choices) -> None:
        self.model, self.graph, self.choices = model, graph, choices
        unit = _unit(graph)
        pairs = [(stage, node) for node in range(len(graph)) for stage in range(node + 1, choices.horizon[node] + 1)]
        self.kept = {pair: model.variable(integral=True) for pair in pairs}
        self.again = {
            (stage, node): model.variable(graph.cost[node] / unit, integral=True)
            for stage, node in pairs
            if choices.repeats[node]
        }

    def link(self) -> None:
        """A computation has its inputs; what is kept was there; nothing is computed while it is kept."""
        for (stage, node), again in self.again.items():
            self._needs_inputs(stage, node, [(again, -1.0)], 0.0)
            self.model.add([(again, 1.0), (self.kept[stage, node], 1.0)], -math.inf, 1.0)
        for stage in range(len(self.graph)):
            self._needs_inputs(stage, stage, [], 1.0)
        for (stage, node), kept in self.kept.items():
            if stage > node + 1:
                self.model.add([*self._available(stage - 1, node), (kept, -1.0)], 0.0, math.inf)

    def _needs_inputs(self, stage: int, node: int, computed: list[tuple[int, float]], low: float) -> None:
        for pred in self.graph.preds[node]:
            self.model.add([*self._available(stage, pred), *computed], low, math.inf)

    def _available(self, stage: int, node: int) -> list[tuple[int, float]]:
        terms = [(self.kept[stage, node], 1.0)]
        if (stage, node) in self.again:
            terms.append((self.again[stage, node], 1.0))
        return terms

    def remember(self, budget: int) -> None:
        """Every step of every stage fits the budget."""
        for stage in range(len(self.graph)):
            needs = self._needs(stage)
            for step in self._steps(stage):
                self._fit(stage, step, needs, budget)

    def _steps(self, stage: int) -> list[int]:
        return [*(node for node in range(stage) if (stage, node) in self.again), stage]

    def _needs(self, stage: int) -> dict[int, list[tuple[int, int | None]]]:
        """For each node (last reader, need up to it), readers in rising order; the need is None when it is certain."""
        needs: dict[int, list[tuple[int, int | None]]] = {}
        for node in range(stage + 1):
            readers = [succ for succ in self.graph.succs[node] if succ == stage or (stage, succ) in self.again]
            after = self.kept.get((stage + 1, node))
            chain: list[tuple[int, int | None]] = [] if after is None else [(len(self.graph), after)]
            for reader in reversed(readers):
                # What the stage's own node reads stays for it, whoever else reads it before.
                certain = reader == stage or (bool(chain) and chain[-1][1] is None)
                later = chain[-1][1] if chain else None
                chain.append((reader, None if certain else self._need(stage, reader, later)))
            needs[node] = chain[::-1]
        return needs

    def _need(self, stage: int, reader: int, later: int | None) -> int:
        need = self.model.variable(integral=False)
        self.model.add([(need, 1.0), (self.again[stage, reader], -1.0)], 0.0, math.inf)
        if later is not None:
            self.model.add([(need, 1.0), (later, -1.0)], 0.0, math.inf)
        return need

    def _fit(self, stage: int, step: int, needs: Mapping[int, list[tuple[int, int | None]]], budget: int) -> None:
        """What is in memory while `step` runs: its result and scratch, what is needed later, what waits its turn."""
        size = self.graph.size
        own = size[step] + self.graph.scratch_of(step)
        terms: list[tuple[int, float]] = []
        certain = 0
        if step == stage:
            certain += own
        else:
            terms.append((self.again[stage, step], own))
        for node in range(step):
            need = next(((need,) for reader, need in needs[node] if reader >= step), None)
            if need is None:
                continue
            if need[0] is None:
                certain += size[node]
            else:
                terms.append((need[0], size[node]))
        terms += [(self.kept[stage, node], size[node]) for node in range(step + 1, stage) if (stage, node) in self.kept]
        if certain + sum(factor for _, factor in terms) > budget:
            scale = max(budget, 1)
            self.model.add([(index, factor / scale) for index, factor in terms], -math.inf, (budget - certain) / scale)

    def solve(self, deadline: float) -> ExactResult:
        if not self.model.objective:
            return self._without_choice()
        answer = self.model.minimise(deadline - time.monotonic())
        if answer.status == 2:
            return ExactResult(None, math.inf, True)
        bound = 0.0 if answer.mip_dual_bound is None else max(0.0, answer.mip_dual_bound * _unit(self.graph))
        if answer.x is None:
            return ExactResult(None, bound, False)
        return ExactResult(self._sequence(answer.x), bound, answer.status == 0)

    def _without_choice(self) -> ExactResult:
        fits = all(low <= 0.0 <= high for low, high in zip(self.model.low, self.model.high, strict=True))
        return ExactResult(list(range(len(self.graph))) if fits else None, 0.0 if fits else math.inf, True)

    def _sequence(self, values: Floats) -> list[int]:
        sequence: list[int] = []
        for stage in range(len(self.graph)):
            sequence += [n for n in range(stage) if (stage, n) in self.again and values[self.again[stage, n]] > 0.5]
            sequence.append(stage)
        return sequence
