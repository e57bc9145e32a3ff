"""From prices to a plan: the solver's choice, its bound, and what it means for every op and value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jogak.autoshard.model import Floats, Model
from jogak.autoshard.sites import OpSite
from jogak.search.incumbent import Progress
from jogak.search.problem import FORBIDDEN, Problem
from jogak.search.solve import solve_problem
from jogak.sharding.sharding import Sharding
from jogak.sharding.strategy import Strategy

_RESOLUTION = 1e14
"""Integer units of the solver in the time of a plan: rounding stays far below any gap that is told."""


@dataclass(frozen=True)
class Outcome:
    """What the search found.

    Attributes:
        choice: for each decision the number of its state; None when nothing fits the memory.
        objective: seconds of the plan as the search prices it.
        lower_bound: seconds that no plan beats, whatever memory it takes (folded layers alike).
        compute_s, communication_s: the two parts of the objective.
        peak_bytes: the most memory that the search expects.
        seconds: wall time of the solver.
        variables: decisions with more than one state.
    """

    choice: tuple[int, ...] | None
    objective: float
    lower_bound: float
    compute_s: float
    communication_s: float
    peak_bytes: float
    seconds: float
    variables: int

    @property
    def gap(self) -> float:
        """(objective - lower bound) / objective; 0 when the plan is proven the best."""
        return max(self.objective - self.lower_bound, 0.0) / self.objective if self.objective else 0.0


def solve_model(
    model: Model,
    *,
    limit: float | None,
    time_limit: float,
    fixed: Mapping[int, Sequence[int]] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Find the cheapest choice within a memory limit.

    The limit is left out first: where the best plan fits by itself, that is all. Then it is kept with every copy of an
    argument that an op may gather; where nothing fits so, without those.

    Args:
        limit: bytes on a device at every time; None for no limit.
        time_limit: seconds for each of the two steps.
        fixed: for some decisions the states that may be chosen.
    """
    if limit is not None and model.holds.least()[0] > limit:
        variables = sum(len(site) > 1 for site in model.sites.sites)
        return Outcome(None, np.inf, np.inf, 0.0, 0.0, 0.0, 0.0, variables)
    free = _solve(model, None, time_limit, fixed or {}, progress)
    if limit is None or free.choice is None or free.peak_bytes <= limit:
        return free
    bounded = _solve(model, limit, time_limit, fixed or {}, progress)
    if bounded.choice is None:
        stored = replace(model, holds=model.holds.without_copies())
        bounded = _solve(stored, limit, time_limit, fixed or {}, progress)
    # Copies that are counted to be safe, and shares that recomputation may save, are no facts about every plan: what
    # surely holds for all of them is the bound without a limit.
    return replace(bounded, lower_bound=free.lower_bound)


def _solve(
    model: Model,
    limit: float | None,
    time_limit: float,
    fixed: Mapping[int, Sequence[int]],
    progress: Callable[[Progress], None] | None,
) -> Outcome:
    scale = _RESOLUTION / max(_magnitude(model), 1e-300)
    unary = [model.unary(number) for number in range(len(model.sites.sites))]
    for number, states in fixed.items():
        allowed = np.zeros(len(unary[number]), np.bool_)
        allowed[list(states)] = True
        unary[number] = np.where(allowed, unary[number], np.inf)
    rows: Any = [] if limit is None else list(model.holds.rows())
    costs: Any = [_integers(row, scale) for row in unary]
    tables: Any = [_integers(table, scale) for table in model.edges.values()]
    nothing: Any = [np.zeros(len(row), np.int64) for row in unary]
    problem = Problem(
        costs, nothing, [(0, 0)] * len(unary), list(model.edges), tables, None if limit is None else int(limit), rows
    )
    solution = solve_problem(problem, time_limit=time_limit, progress=progress)
    variables = sum(len(row) > 1 for row in unary)
    bound = (solution.lower_bound or 0) / scale
    if solution.choice is None:
        return Outcome(None, np.inf, bound, 0.0, 0.0, 0.0, solution.seconds, variables)
    compute, communication = model.seconds(solution.choice)
    total = compute + communication
    return Outcome(
        tuple(solution.choice), total, min(bound, total), compute, communication, model.holds.peak(solution.choice)[0],
        solution.seconds, variables,
    )  # fmt: skip


def _magnitude(model: Model) -> float:
    """Seconds of the order of a plan: every decision at its best, and a share of what edges can cost."""
    total = sum(float(np.min(model.unary(number))) for number in range(len(model.sites.sites)))
    worst = sum(float(np.max(table[np.isfinite(table)], initial=0.0)) for table in model.edges.values())
    return total + 0.01 * worst


def _integers(row: Floats, scale: float) -> NDArray[np.int64]:
    flat = np.ravel(row)
    scaled = np.where(np.isfinite(flat), flat, 0.0) * scale
    return np.where(np.isfinite(flat), np.minimum(np.rint(scaled), FORBIDDEN / 10), FORBIDDEN).astype(np.int64)


@dataclass(frozen=True)
class Assigned:
    """A plan on the program.

    Attributes:
        shardings: for each value of the program how it is kept.
        strategies: for each node how it is done.
    """

    shardings: list[Sharding]
    strategies: list[Strategy]


def assigned(model: Model, choice: Sequence[int]) -> Assigned:
    """What a choice means for every value and op."""
    sites = model.sites
    shardings = [
        sites.outgoing(owner, result)[choice[owner]]
        for owner, result in zip(sites.owner.tolist(), sites.result.tolist(), strict=True)
    ]
    strategies = []
    for own in sites.own.tolist():
        site = sites.sites[own]
        assert isinstance(site, OpSite)
        strategies.append(site.strategies[choice[own]])
    return Assigned(shardings, strategies)
