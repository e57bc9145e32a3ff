"""What closes a gap in a plan: a value dies early and is computed again before its next use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jogak.memory.tape import Tape
from jogak.memory.trace import Trace
from jogak.search.jit import Ints

_LARGEST = 40
"""Values with most bytes that are looked at around one position."""
_TRIED = 6
"""Moves that are returned for it."""
_DEEP = 400


@dataclass(frozen=True)
class Move:
    """Steps that are computed again.

    Attributes:
        steps: which, in order.
        before: the position of the sequence that they go in front of.
        seconds: how long they take.
        score: seconds for each byte that dies early.
    """

    steps: tuple[int, ...]
    before: int
    seconds: float
    score: float


class Newest:
    """The last read of the newest computation of a value in front of a position.

    Attributes:
        before: the position.
    """

    def __init__(self, tape: Tape, found: Trace) -> None:
        self.before = 0
        self._computed: dict[int, list[tuple[int, int]]] = {}
        rows = (each[tape.arguments :].tolist() for each in (found.value, found.first, found.last))
        for value, first, last in zip(*rows, strict=True):
            self._computed.setdefault(value, []).append((first, last))

    def __getitem__(self, value: int) -> int:
        for first, last in reversed(self._computed[value]):
            if first < self.before:
                return last
        raise KeyError(f"value {value} is not made before {self.before}")


class MoveFinder:
    """Finds moves on a tape.

    Attributes:
        price: seconds that a byte is worth at present: what a needed operand costs that is kept longer instead.
    """

    def __init__(self, tape: Tape, budget: int) -> None:
        self.tape, self.budget = tape, budget
        self.sizes = np.asarray(tape.sizes, dtype=np.int64)
        self.makers = tape.makers
        self.seconds = [max(step.seconds, 1e-9) for step in tape.steps]
        self.price = 1e-12

    def candidates(self, sequence: Sequence[int], found: Trace, position: int) -> list[Move]:
        """The most promising gaps around a position."""
        following = self._next_uses(sequence, position)
        alive = np.flatnonzero((found.first < position) & (found.last > position) & (found.first >= 0))
        sizes = self.sizes[found.value[alive]]
        moves: dict[tuple[tuple[int, ...], int], Move] = {}
        over = np.cumsum(np.concatenate([[0], found.live > self.budget]))
        newest = Newest(self.tape, found)
        for instance in alive[np.argsort(-sizes, kind="stable")][:_LARGEST]:
            value = int(found.value[instance])
            before = following.get(value, -1)
            if before <= position or self.tape.steps[self.makers[value]].once:
                continue
            newest.before = before
            for price in (0.0, self.price, 8 * self.price, np.inf):
                move = self._close(value, before, position, newest, over, price)
                if move is not None:
                    known = moves.get((move.steps, before))
                    if known is None or move.score < known.score:
                        moves[move.steps, before] = move
        return sorted(moves.values(), key=lambda move: move.score)[:_TRIED]

    def _next_uses(self, sequence: Sequence[int], position: int) -> dict[int, int]:
        """For each value its first reader at or behind a position, if it is read before it is made again."""
        found: dict[int, int] = {}
        for place in range(position, len(sequence)):
            step = self.tape.steps[sequence[place]]
            for value in step.reads:
                found.setdefault(value, place)
            for value in step.writes:
                found.setdefault(value, -1)
        return found

    def _close(self, value: int, before: int, position: int, newest: Newest, over: Ints, price: float) -> Move | None:
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
        return Move(tuple(sorted(steps)), before, seconds, seconds / net) if net > 0 else None

    def _again(self, maker: int, before: int, newest: Newest) -> float:
        """About what it takes to run a step again: its own time, and that of what it needs one level further."""
        total = self.seconds[maker]
        for read in self.tape.steps[maker].reads:
            if read >= self.tape.arguments and newest[read] < before:
                total += self.seconds[self.makers[read]]
        return total
