"""The best choice and the best bound so far, in exact integers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from jogak.search.jit import INFINITY, Ints
from jogak.search.problem import Problem, Solution, evaluate, is_feasible


@dataclass(frozen=True)
class Progress:
    """A state of the search, for display: seconds since its start, best cost, lower bound."""

    seconds: float
    cost: int | None
    lower_bound: int | None


@dataclass
class Incumbent:
    """Keeps the best choice, which it evaluates itself, and the best bound; tells a listener about both.

    Attributes:
        target_gap: a gap of this size is good enough.
        impossible: a proof exists that no choice is feasible.
        settled: an exact solver went through everything that could be better; `bound` may lie its tolerance lower.
    """

    problem: Problem
    start: float
    listener: Callable[[Progress], None] | None = None
    target_gap: float = 0.0
    cost: int | None = None
    choice: tuple[int, ...] | None = None
    bound: int | None = None
    impossible: bool = False
    settled: bool = False

    @property
    def ceiling(self) -> float:
        """Only choices that cost less than this are of interest."""
        return INFINITY if self.cost is None else float(self.cost)

    @property
    def gap(self) -> float | None:
        """(cost - bound) / |cost|; None as long as one of them is unknown."""
        if self.cost is None or self.bound is None:
            return None
        return (self.cost - self.bound) / max(abs(self.cost), 1)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to search: optimal, impossible, or as good as was asked for."""
        return self.impossible or self.settled or (self.gap is not None and self.gap <= self.target_gap)

    def offer(self, choice: Ints) -> bool:
        """Take a choice if it is feasible and better; returns whether it was taken."""
        candidate = tuple(choice.tolist())
        cost, _ = evaluate(self.problem, candidate)
        if (self.cost is not None and cost >= self.cost) or not is_feasible(self.problem, candidate):
            return False
        self.cost, self.choice = cost, candidate
        self._tell()
        return True

    def raise_bound(self, bound: float, *, tolerance: float = 0.0) -> None:
        """Take a lower bound; costs are integers, so it is rounded up, after a relative tolerance is taken off."""
        if not math.isfinite(bound):
            return
        rounded = math.ceil(bound - tolerance * abs(bound))
        if self.cost is not None:
            rounded = min(rounded, self.cost)
        if self.bound is None or rounded > self.bound:
            self.bound = rounded
            self._tell()

    def solution(self) -> Solution:
        """The result so far."""
        seconds = time.monotonic() - self.start
        if self.impossible:
            return Solution(None, None, None, False, seconds, None)
        if self.cost is None:
            return Solution(None, self.bound, None, None, seconds, None)
        return Solution(self.cost, self.bound, self.gap, True, seconds, self.choice)

    def _tell(self) -> None:
        if self.listener is not None:
            self.listener(Progress(time.monotonic() - self.start, self.cost, self.bound))
