"""From prices to a plan: the solver's choice, its bound, and what it means for every op and value."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jogak.autoshard.model import Floats, Model, Price, Weights
from jogak.autoshard.sites import OpSite
from jogak.search.incumbent import Progress
from jogak.search.problem import FORBIDDEN, Problem
from jogak.search.solve import solve_problem
from jogak.sharding.sharding import Sharding
from jogak.sharding.strategy import Strategy

_RESOLUTION = 1e14
"""Integer units of the solver in the time of a plan: rounding stays far below any gap that is told."""
_GAIN = 0.01
"""What a plan must be above the bound without a limit, as a share, for a second search within the limit."""
_FEW = 200
"""Decisions up to which one is always made."""
_SHARES = 8
"""Shares that are tried at most."""
_SMALLEST = 0.2
"""Below this share nothing but 0 is tried without a plan on its other side."""
_SAME = 1e-6
"""A bound that would rise by less than this is as good as reached."""
_OPEN: Mapping[int, Sequence[int]] = {}
"""Every decision may take every state."""


@dataclass(frozen=True)
class Outcome:
    """What the search found.

    Attributes:
        choice: for each decision the number of its state; None when nothing fits the memory.
        objective: seconds of the plan as the search prices it.
        lower_bound: seconds that no plan beats, whatever memory it takes (folded layers alike).
        price: what the objective consists of.
        peak_bytes: the most memory that the search expects.
        seconds: wall time of the solver.
        variables: decisions with more than one state.
        share: how much of the longer of kernels and hideable collectives counted as kernels where the plan was found.
        interrupted: whether the user ended the search.
    """

    choice: tuple[int, ...] | None
    objective: float
    lower_bound: float
    price: Price
    peak_bytes: float
    seconds: float
    variables: int
    share: float = 1.0
    interrupted: bool = False

    @property
    def gap(self) -> float:
        """(objective - lower bound) / objective; 0 when the plan is proven the best."""
        if self.choice is None or not self.objective:
            return 0.0
        return max(self.objective - self.lower_bound, 0.0) / self.objective

    @property
    def compute_s(self) -> float:
        """Seconds of kernels."""
        return self.price.compute

    @property
    def communication_s(self) -> float:
        """Seconds of collectives, those beside kernels included."""
        return self.price.exposed + self.price.hideable


@dataclass(frozen=True)
class Effort:
    """How hard to search.

    Attributes:
        time_limit: seconds of the solver for each problem that it is given.
        target_gap: a plan so near to its bound is good enough.
        progress: told whenever the best plan or the bound improves, in seconds of a step.
    """

    time_limit: float
    target_gap: float = 0.0
    progress: Callable[[State], None] | None = None


@dataclass(frozen=True)
class State:
    """Where a search is: wall seconds since its start, and the step times of the best plan and of the bound."""

    seconds: float
    objective: float | None
    lower_bound: float | None


def solve_model(
    model: Model,
    effort: Effort,
    *,
    limit: float | None,
    fixed: Mapping[int, Sequence[int]] | None = None,
    near: Outcome | None = None,
) -> Outcome:
    """Find the cheapest choice within a memory limit.

    The limit is left out first: where the best plan fits by itself, that is all. Then it is kept with every copy of an
    argument that an op may gather, which counts copies that are none; and without those, which forgets some that are.
    Of the latter a plan is taken where it fits after all, or where nothing else does.

    Args:
        limit: bytes on a device at every time; None for no limit.
        fixed: for some decisions the states that may be chosen.
        near: the solution of a similar problem, where to start.
    """
    fixed = fixed or {}
    if limit is not None and model.holds.least()[0] > limit:
        return impossible(model)
    return solve_limited(model, effort, limit, solve_free(model, effort, fixed, near), fixed, near)


def solve_free(
    model: Model, effort: Effort, fixed: Mapping[int, Sequence[int]] = _OPEN, near: Outcome | None = None
) -> Outcome:
    """Find the cheapest choice, whatever memory it takes."""
    return _Search(model, None, effort, fixed, near).run()


def solve_limited(
    model: Model,
    effort: Effort,
    limit: float | None,
    free: Outcome,
    fixed: Mapping[int, Sequence[int]] = _OPEN,
    near: Outcome | None = None,
) -> Outcome:
    """Find the cheapest choice within a memory limit when the cheapest one without it is known.

    Args:
        free: that one; its peak is that of this model's memory.
    """
    if limit is None or free.choice is None or free.peak_bytes <= limit:
        return free
    if free.interrupted:
        return replace(_none(model, free.lower_bound, free.seconds), interrupted=True)
    bounded = _Search(model, limit, effort, fixed, near).run()
    if not bounded.interrupted and _may_gain(bounded, free, effort.target_gap):
        bounded = _better(bounded, _without_copies(model, limit, effort, fixed, near, bounded), limit)
    # Copies that are counted to be safe, and shares that recomputation may save, are no facts about every plan: what
    # surely holds for all of them is the bound without a limit.
    return replace(bounded, lower_bound=free.lower_bound, seconds=free.seconds + bounded.seconds)


def impossible(model: Model) -> Outcome:
    """What is told where even the smallest states do not fit."""
    return _none(model, np.inf)


def with_memory(outcome: Outcome, model: Model) -> Outcome:
    """The outcome of a problem that differs only in its memory; it took no time."""
    assert outcome.choice is not None, "a search without a limit that ends finds a choice"
    return replace(outcome, peak_bytes=model.holds.peak(outcome.choice)[0], seconds=0.0)


def _may_gain(safe: Outcome, free: Outcome, target_gap: float) -> bool:
    """Whether a second search is worth its time: where there is no plan, much to gain, or little to search."""
    gap = (safe.objective - free.lower_bound) / safe.objective if safe.choice is not None else np.inf
    return gap > max(target_gap, 1e-9 if safe.variables <= _FEW else _GAIN)


def _without_copies(
    model: Model,
    limit: float,
    effort: Effort,
    fixed: Mapping[int, Sequence[int]],
    near: Outcome | None,
    safe: Outcome,
) -> Outcome:
    """The cheapest plan when copies of arguments that ops gather take no memory, with the peak that it really has."""
    stored = replace(model, holds=model.holds.without_copies())
    found = _Search(stored, limit, effort, fixed, near if safe.choice is None else safe).run()
    seconds = safe.seconds + found.seconds
    if found.choice is None:
        return replace(found, seconds=seconds)
    return replace(found, seconds=seconds, peak_bytes=model.holds.peak(found.choice)[0])


def _better(safe: Outcome, other: Outcome, limit: float) -> Outcome:
    """The cheaper one of those that fit; where the first has no plan the second."""
    fits = other.choice is not None and other.peak_bytes <= limit and other.objective < safe.objective
    chosen = other if fits or safe.choice is None else safe
    return replace(chosen, seconds=other.seconds, interrupted=other.interrupted)


def _none(model: Model, bound: float, seconds: float = 0.0) -> Outcome:
    variables = sum(len(site) > 1 for site in model.sites.sites)
    return Outcome(None, np.inf, bound, Price(0.0, 0.0, 0.0, False), 0.0, seconds, variables)


class _Search:
    """The best plan under one memory limit, for the best share of the longer of kernels and hideable collectives.

    What the cheapest plan weighs is a concave, piecewise linear function of the share and a bound at each of them;
    every plan is a line above it. The highest bound is found by cutting planes in one dimension: the next share is
    where the lines to its left and right meet.
    """

    def __init__(
        self,
        model: Model,
        limit: float | None,
        effort: Effort,
        fixed: Mapping[int, Sequence[int]],
        near: Outcome | None,
    ) -> None:
        self.model, self.limit, self.effort, self.fixed = model, limit, effort, fixed
        self.start = time.monotonic()
        self.choice = None if near is None else near.choice
        self.share = near.share if near is not None and model.overlap else 1.0
        self.best: tuple[float, tuple[int, ...], Price, float] | None = None
        self.bound = 0.0
        self.interrupted = False
        self.rows: Any = [] if limit is None else list(model.holds.rows())

    def run(self) -> Outcome:
        """Solve one share after another until the bound meets the plan, or gains nothing more."""
        share: float | None = self.share
        left: _Line | None = None
        right: _Line | None = None
        for _ in range(_SHARES):
            assert share is not None
            price = self.solve(share)
            if price is None or not self.model.overlap or self.interrupted or self.gap <= self.effort.target_gap:
                break
            line = _Line(price, share)
            left, right = (line, right) if price.compute >= price.hideable else (left, line)
            share = _next_share(left, right, self.bound)
            if share is None:
                break
        return self.outcome()

    @property
    def gap(self) -> float:
        """Of the best plan so far."""
        return np.inf if self.best is None else (self.best[0] - self.bound) / max(self.best[0], 1e-300)

    def outcome(self) -> Outcome:
        seconds = time.monotonic() - self.start
        if self.best is None:
            return replace(_none(self.model, self.bound, seconds), interrupted=self.interrupted)
        objective, choice, price, share = self.best
        variables = sum(len(site) > 1 for site in self.model.sites.sites)
        peak = self.model.holds.peak(choice)[0]
        bound = min(self.bound, objective)
        return Outcome(choice, objective, bound, price, peak, seconds, variables, share, self.interrupted)

    def solve(self, share: float) -> Price | None:
        """The price of the plan that is cheapest by a share; None when none was found."""
        weights = Weights.of(share) if self.model.overlap else Weights()
        unary = [self.allowed(number, weights) for number in range(len(self.model.sites.sites))]
        tables = list(self.model.tables(weights))
        scale = _RESOLUTION / max(_magnitude(unary, tables), 1e-300)
        costs: Any = [_integers(row, scale) for row in unary]
        pairs: Any = [_integers(table, scale) for table in tables]
        nothing: Any = [np.zeros(len(row), np.int64) for row in unary]
        limit = None if self.limit is None else int(self.limit)
        problem = Problem(costs, nothing, [(0, 0)] * len(unary), list(self.model.edges), pairs, limit, self.rows)
        solution = solve_problem(
            problem,
            time_limit=self.effort.time_limit,
            target_gap=self.effort.target_gap,
            initial=[] if self.choice is None else [self.choice],
            progress=self.listener(scale),
        )
        self.interrupted |= solution.interrupted
        self.bound = max(self.bound, (solution.lower_bound or 0) / scale)
        if solution.choice is None:
            return None
        price = self.model.price(solution.choice)
        if self.best is None or price.step < self.best[0]:
            self.best = price.step, solution.choice, price, share
        self.choice = solution.choice
        return price

    def allowed(self, number: int, weights: Weights) -> Floats:
        """Weighted seconds of the states of a decision, infinite for those that may not be chosen."""
        row = self.model.unary(number, weights)
        if number not in self.fixed:
            return row
        allowed = np.zeros(len(row), np.bool_)
        allowed[list(self.fixed[number])] = True
        return np.where(allowed, row, np.inf)

    def listener(self, scale: float) -> Callable[[Progress], None] | None:
        """Hands on where the solver is, in seconds of a step."""
        tell = self.effort.progress
        if tell is None:
            return None
        best, bound, since = None if self.best is None else self.best[0], self.bound, time.monotonic() - self.start

        def listen(state: Progress) -> None:
            cost = best if state.cost is None else min(state.cost / scale, best or np.inf)
            tell(State(since + state.seconds, cost, max(bound, (state.lower_bound or 0) / scale)))

        return listen


@dataclass(frozen=True)
class _Line:
    """What a plan weighs by share, and the share for which it was found."""

    price: Price
    share: float

    def at(self, share: float) -> float:
        return self.price.weighted(Weights.of(share))


def _next_share(left: _Line | None, right: _Line | None, bound: float) -> float | None:
    """The share that may have the highest bound; None when no other has a higher one.

    Args:
        left, right: the plans nearest to it from both sides: the left one computes longer than it hides.
    """
    if right is None:
        return None if left is None or left.share == 1.0 else 1.0
    if left is None:
        return None if right.share == 0.0 else (right.share / 2 if right.share > _SMALLEST else 0.0)
    rise, fall = left.at(1.0) - left.at(0.0), right.at(0.0) - right.at(1.0)
    share = (right.at(0.0) - left.at(0.0)) / (rise + fall) if rise + fall else left.share
    share = min(max(share, 0.0), 1.0)
    return share if left.at(share) > bound * (1 + _SAME) else None


def _magnitude(unary: Sequence[Floats], tables: Sequence[Floats]) -> float:
    """Seconds of the order of a plan: every decision at its best, and a share of what edges can cost."""
    total = sum(float(np.min(row)) for row in unary if np.isfinite(row).any())
    worst = sum(float(np.max(table[np.isfinite(table)], initial=0.0)) for table in tables)
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
