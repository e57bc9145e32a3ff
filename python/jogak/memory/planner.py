"""The search of rematerialization, over any form of a plan: moves until it fits, then cheaper ones.

A plan is a sequence (`FlatPlans`) or a pattern that all layers share (`jogak.memory.folded`). What the search needs to
know of it is in `Plans`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from jogak.memory.moves import Move, MoveFinder
from jogak.memory.tape import Tape
from jogak.memory.trace import Trace, arrays_of, trace
from jogak.search.jit import Ints

S = TypeVar("S")

_WORST = 200
"""Positions, the highest first, among which one is looked for where a move helps."""
_APART = 12
"""Positions that lie closer together have the same moves."""
_POSITIONS = 6


class Repeat(NamedTuple):
    """Something that is computed again.

    Attributes:
        position: where, in the sequence.
        key: what the plan calls it.
        seconds: how long it takes.
    """

    position: int
    key: Hashable
    seconds: float


@dataclass(frozen=True)
class View:
    """A plan as the finder of moves sees it: a sequence with its live bytes and lifetimes."""

    sequence: Ints
    trace: Trace


class Plans(Protocol[S]):
    """A kind of plan."""

    def look(self, plan: S) -> View:
        """The plan's sequence."""

    def insert(self, plan: S, move: Move) -> tuple[S, float] | None:
        """The plan with a move that was found in its sequence, and what it adds; None where it cannot be made."""

    def repeats(self, plan: S) -> list[Repeat]:
        """What is computed again, in order."""

    def without(self, plan: S, keys: Collection[Hashable]) -> S:
        """The plan without some of its repeats."""


class Planner(Generic[S]):
    """Makes plans fit a budget, and then cheaper, until a moment of this thread's CPU time."""

    def __init__(self, plans: Plans[S], finder: MoveFinder, deadline: float) -> None:
        self.plans, self.finder, self.budget, self.deadline = plans, finder, finder.budget, deadline

    def added(self, plan: S) -> float:
        """Seconds of the repeats."""
        return sum(repeat.seconds for repeat in self.plans.repeats(plan))

    def peak(self, plan: S) -> int:
        """The most bytes that are alive at once."""
        return self.plans.look(plan).trace.peak

    def repair(self, plan: S) -> S:
        """Make moves until the plan fits, or none helps."""
        view = self.plans.look(plan)
        while view.trace.peak > self.budget and time.thread_time() < self.deadline:
            moved = self._move(plan, view)
            if moved is None:
                break
            plan, view = moved
        return plan

    def _excess(self, view: View) -> float:
        """Bytes above the budget, summed over positions."""
        return float(np.maximum(view.trace.live - self.budget, 0).sum())

    def _move(self, plan: S, view: View) -> tuple[S, View] | None:
        """The plan after the best move at the worst position where one helps."""
        excess = self._excess(view)
        live = view.trace.live
        tried: list[int] = []
        for position in map(int, np.argsort(-live, kind="stable")[:_WORST]):
            if live[position] <= self.budget or len(tried) == _POSITIONS:
                return None
            if any(abs(position - other) < _APART for other in tried):
                continue
            tried.append(position)
            best: tuple[float, Move, S, View] | None = None
            for move in self.finder.candidates(view.sequence, view.trace, position):
                made = self.plans.insert(plan, move)
                if made is None:
                    continue
                after, seconds = made
                seen = self.plans.look(after)
                less = excess - self._excess(seen)
                if less > 0 and (best is None or seconds / less < best[0]):
                    best = (seconds / less, move, after, seen)
            if best is not None:
                self.finder.price = max(best[1].score, 1e-15)
                return best[2:]
        return None

    def prune(self, plan: S) -> S:
        """Without the repeats that the budget does not need, dearest first."""
        gone: set[Hashable] = set()
        for repeat in sorted(self.plans.repeats(plan), key=lambda repeat: -repeat.seconds):
            if time.thread_time() > self.deadline:
                break
            if self.peak(self.plans.without(plan, gone | {repeat.key})) <= self.budget:
                gone.add(repeat.key)
        return self.plans.without(plan, gone)

    def improve(self, plan: S, rounds: int) -> S:
        """Tear repeats out of a plan and repair it; keep what is cheaper."""
        draw = random.Random(0)
        best = self.added(plan)
        for _ in range(rounds):
            repeats = self.plans.repeats(plan)
            if not repeats or time.thread_time() > self.deadline:
                break
            center = draw.choice(repeats).position
            nearest = sorted(repeats, key=lambda repeat: abs(repeat.position - center))
            torn = {repeat.key for repeat in nearest[: draw.randint(1, max(2, len(repeats) // draw.choice((2, 4, 8))))]}
            other = self.repair(self.plans.without(plan, torn))
            if self.peak(other) > self.budget:
                continue
            other = self.prune(other) if self.added(other) < 1.1 * best else other
            if self.added(other) < best * (1 - 1e-9):
                plan, best = other, self.added(other)
        return plan


class FlatPlans:
    """Plans that are sequences; a repeat's key is its position."""

    def __init__(self, tape: Tape) -> None:
        self.tape, self.arrays = tape, arrays_of(tape)

    def look(self, plan: list[int]) -> View:
        """The sequence and its trace."""
        sequence = np.asarray(plan, dtype=np.int64)
        return View(sequence, trace(self.arrays, sequence))

    def insert(self, plan: list[int], move: Move) -> tuple[list[int], float]:
        """The sequence with the steps of a move."""
        return [*plan[: move.before], *move.steps, *plan[move.before :]], move.seconds

    def repeats(self, plan: list[int]) -> list[Repeat]:
        """The computations that are not the first of their step."""
        seen: set[int] = set()
        found: list[Repeat] = []
        for position, step in enumerate(plan):
            if step in seen:
                found.append(Repeat(position, position, self.tape.steps[step].seconds))
            seen.add(step)
        return found

    def without(self, plan: list[int], keys: Collection[Hashable]) -> list[int]:
        """The sequence without some computations."""
        return [step for position, step in enumerate(plan) if position not in keys]
