"""Rematerialization of whole programs: thousands of steps, the true peak, seconds from the cost model.

A plan is a sequence of steps with repeats. One move closes a gap: a value that is alive at the worst position, but not
used there, dies at its last use before it and is computed again right before its next use. What that needs is alive
there, is kept alive longer, or is itself computed again, whichever is cheaper at the present price of a byte. Moves are
chosen by seconds for each byte and step that they take off above the budget, until nothing is above it: the excess
falls with every move, so that it ends. Then repeats that turned out not to be needed are taken back, and parts of the
plan are torn out and solved again.

The bound: at any position of a plan that keeps the order of first computations, whatever the base keeps alive across it
is there or is computed again later; a fractional knapsack says what that costs at least.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jogak.memory.tape import Tape
from jogak.memory.trace import Arrays, Trace, arrays_of, trace
from jogak.search.jit import Ints

_LARGEST = 40
"""Values with most bytes that one round looks at."""
_TRIED = 6
"""Of these, the ones whose whole effect is computed."""
_DEEP = 400


@dataclass(frozen=True)
class Plan:
    """A sequence with repeats.

    Attributes:
        sequence: steps in order.
        peak: bytes.
        added_seconds: of the repeats.
        bound_seconds: no plan with this order of first computations adds less.
        fits: whether it keeps to the budget; otherwise it is the lowest that was found.
    """

    sequence: list[int]
    peak: int
    added_seconds: float
    bound_seconds: float
    fits: bool


@dataclass(frozen=True)
class _Move:
    steps: tuple[int, ...]
    before: int
    seconds: float
    score: float


def recompute(tape: Tape, order: Sequence[int], budget: int, *, time_limit: float = 20.0, improve: int = 40) -> Plan:
    """Repeat steps so that no position needs more than a budget.

    Args:
        order: every step once.
        budget: bytes.
        time_limit: seconds; the result does not depend on it unless it runs out.
        improve: how many parts of the plan are solved again.
    """
    planner = _Planner(tape, arrays_of(tape), budget, time.monotonic() + time_limit)
    bound = lower_bound(tape, order, budget)
    sequence = planner.repair(list(order))
    found = trace(planner.arrays, sequence)
    if found.peak > budget:
        return Plan(sequence, found.peak, planner.added(sequence), bound, False)
    sequence = planner.improve(planner.prune(sequence), improve)
    peak = trace(planner.arrays, sequence).peak
    return Plan(sequence, peak, planner.added(sequence), min(bound, planner.added(sequence)), True)


def minimum_bytes(tape: Tape) -> int:
    """Bytes that no sequence can go below: each step needs what it reads and makes at once."""
    most = 0
    for step in tape.steps:
        need = sum(tape.sizes[v] for v in step.reads if v >= tape.arguments)
        for value, over in zip(step.writes, step.reuse or [()] * len(step.writes), strict=True):
            need += 0 if any(tape.sizes[c] == tape.sizes[value] for c in over) else tape.sizes[value]
        most = max(most, need)
    return tape.resident + most


def lower_bound(tape: Tape, order: Sequence[int], budget: int) -> float:
    """Seconds that any plan adds which keeps this order of first computations."""
    found = trace(arrays_of(tape), order)
    seconds = {value: step.seconds for step in tape.steps for value in step.writes if not step.once}
    worst = sorted(range(len(order)), key=lambda p: -found.live[p])[:20]
    return max((_knapsack(tape, found, p, budget, seconds) for p in worst if found.live[p] > budget), default=0.0)


def _knapsack(tape: Tape, found: Trace, position: int, budget: int, seconds: dict[int, float]) -> float:
    excess = float(found.live[position]) - budget
    across = np.flatnonzero((found.first < position) & (found.last > position))
    items = [(seconds[int(v)], tape.sizes[v]) for v in found.value[across] if v >= tape.arguments and int(v) in seconds]
    total = 0.0
    for cost, size in sorted((item for item in items if item[1]), key=lambda item: item[0] / item[1]):
        if excess <= 0:
            break
        total += cost * min(1.0, excess / size)
        excess -= size
    return total


class _Planner:
    def __init__(self, tape: Tape, arrays: Arrays, budget: int, deadline: float) -> None:
        self.tape, self.arrays, self.budget, self.deadline = tape, arrays, budget, deadline
        self.makers = {value: number for number, step in enumerate(tape.steps) for value in step.writes}
        self.seconds = [max(step.seconds, 1e-9) for step in tape.steps]
        self.base = sum(step.seconds for step in tape.steps)
        self.price = 1e-12

    def added(self, sequence: Sequence[int]) -> float:
        """Seconds of the repeats."""
        return sum(self.tape.steps[step].seconds for step in sequence) - self.base

    def excess(self, found: Trace) -> float:
        """Bytes above the budget, summed over positions."""
        return float(np.maximum(found.live - self.budget, 0).sum())

    def repair(self, sequence: list[int]) -> list[int]:
        """Make moves until the sequence fits, or none helps."""
        found = trace(self.arrays, sequence)
        while found.peak > self.budget and time.monotonic() < self.deadline:
            moved = self._move(sequence, found)
            if moved is None:
                break
            sequence = moved
            found = trace(self.arrays, sequence)
        return sequence

    def _move(self, sequence: list[int], found: Trace) -> list[int] | None:
        """The sequence after the best move at the worst position where one helps."""
        excess = self.excess(found)
        tried: set[int] = set()
        for position in np.argsort(-found.live, kind="stable")[:200]:
            if found.live[position] <= self.budget:
                return None
            if any(abs(int(position) - other) < 12 for other in tried) or len(tried) > 5:
                continue
            tried.add(int(position))
            best: tuple[float, _Move, list[int]] | None = None
            for move in self._candidates(sequence, found, int(position)):
                after = [*sequence[: move.before], *move.steps, *sequence[move.before :]]
                less = excess - self.excess(trace(self.arrays, after))
                if less > 0 and (best is None or move.seconds / less < best[0]):
                    best = (move.seconds / less, move, after)
            if best is not None:
                self.price = max(best[1].score, 1e-15)
                return best[2]
        return None

    def _candidates(self, sequence: list[int], found: Trace, position: int) -> list[_Move]:
        """The most promising gaps around a position."""
        following = self._next_uses(sequence, position)
        alive = np.flatnonzero((found.first < position) & (found.last > position) & (found.first >= 0))
        sizes = self.arrays.sizes[found.value[alive]]
        moves: dict[tuple[tuple[int, ...], int], _Move] = {}
        over = np.cumsum(np.concatenate([[0], found.live > self.budget]))
        for instance in alive[np.argsort(-sizes, kind="stable")][:_LARGEST]:
            value = int(found.value[instance])
            before = following.get(value, -1)
            if before <= position or self.tape.steps[self.makers[value]].once:
                continue
            newest = self._newest(sequence, found, before)
            for price in (0.0, self.price, 8 * self.price, np.inf):
                move = self._close(value, before, position, newest, over, price)
                if move is not None:
                    known = moves.get((move.steps, before))
                    if known is None or move.score < known.score:
                        moves[move.steps, before] = move
        return sorted(moves.values(), key=lambda move: move.score)[:_TRIED]

    def _next_uses(self, sequence: list[int], position: int) -> dict[int, int]:
        """For each value its first reader at or behind a position, if it is read before it is made again."""
        found: dict[int, int] = {}
        for place in range(position, len(sequence)):
            step = self.tape.steps[sequence[place]]
            for value in step.reads:
                found.setdefault(value, place)
            for value in step.writes:
                found.setdefault(value, -1)
        return found

    def _newest(self, sequence: list[int], found: Trace, before: int) -> dict[int, int]:
        """The last read of the newest computation of each value in front of a position."""
        made = np.searchsorted(found.first[self.tape.arguments :], before, side="left") + self.tape.arguments
        return dict(zip(found.value[:made].tolist(), found.last[:made].tolist(), strict=True))

    def _close(
        self, value: int, before: int, position: int, newest: dict[int, int], over: Ints, price: float
    ) -> _Move | None:
        """What it takes to compute a value again before a position."""
        steps: set[int] = set()
        kept: set[int] = set()
        todo = [self.makers[value]]
        while todo:
            number = todo.pop()
            if number in steps:
                continue
            if self.tape.steps[number].once or len(steps) > _DEEP:
                return None
            steps.add(number)
            for read in self.tape.steps[number].reads:
                if read < self.tape.arguments or newest[read] >= before or self.makers[read] in steps or read in kept:
                    continue
                maker = self.makers[read]
                crosses = over[before] - over[max(newest[read], 0)] > 0
                keep = price * self.tape.sizes[read] if crosses else 0.0
                if self.tape.steps[maker].once or keep <= self._again(maker, before, newest):
                    kept.add(read)
                else:
                    todo.append(maker)
        kept = {read for read in kept if self.makers[read] not in steps}
        net = self.tape.sizes[value] - sum(self.tape.sizes[read] for read in kept if newest[read] < position)
        seconds = sum(self.seconds[number] for number in steps)
        return _Move(tuple(sorted(steps)), before, seconds, seconds / net) if net > 0 else None

    def _again(self, maker: int, before: int, newest: dict[int, int]) -> float:
        """About what it takes to run a step again: its own time, and that of what it needs one level further."""
        total = self.seconds[maker]
        for read in self.tape.steps[maker].reads:
            if read >= self.tape.arguments and newest[read] < before:
                total += self.seconds[self.makers[read]]
        return total

    def prune(self, sequence: list[int]) -> list[int]:
        """Without the repeats that the budget does not need, dearest first."""
        marked = list(enumerate(sequence))
        for place in sorted(_repeats(sequence), key=lambda p: -self.tape.steps[sequence[p]].seconds):
            if time.monotonic() > self.deadline:
                break
            shorter = [entry for entry in marked if entry[0] != place]
            if trace(self.arrays, [step for _, step in shorter]).peak <= self.budget:
                marked = shorter
        return [step for _, step in marked]

    def improve(self, sequence: list[int], rounds: int) -> list[int]:
        """Tear repeats out of a plan and repair it; keep what is cheaper."""
        draw = random.Random(0)
        best = self.added(sequence)
        for _ in range(rounds):
            repeats = _repeats(sequence)
            if not repeats or time.monotonic() > self.deadline:
                break
            center = draw.choice(repeats)
            nearby = sorted(repeats, key=lambda p: abs(p - center))[: draw.randint(1, max(2, len(repeats) // 8))]
            torn = [step for place, step in enumerate(sequence) if place not in set(nearby)]
            other = self.repair(torn)
            if trace(self.arrays, other).peak > self.budget:
                continue
            other = self.prune(other) if self.added(other) < 1.1 * best else other
            if self.added(other) < best * (1 - 1e-9):
                sequence, best = other, self.added(other)
        return sequence


def _repeats(sequence: Sequence[int]) -> list[int]:
    """Positions of computations that are not the first of their step."""
    seen: set[int] = set()
    found: list[int] = []
    for place, step in enumerate(sequence):
        if step in seen:
            found.append(place)
        seen.add(step)
    return found
