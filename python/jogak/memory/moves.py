"""What closes a gap in a plan: a value dies early and is computed again before its next use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jogak.memory.tape import Tape
from jogak.memory.trace import Arrays, Trace, arrays_of
from jogak.search.jit import Bools, Floats, Ints, helper, kernel

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


class Needs(NamedTuple):
    """What computing again takes.

    Attributes:
        maker: of each value its step; -1 for an argument.
        seconds: of each step.
        once: steps that cannot be computed again.
    """

    maker: Ints
    seconds: Floats
    once: Bools


class Computed(NamedTuple):
    """The computations of each value as compressed rows, in order: their positions and those of their last reads."""

    start: Ints
    first: Ints
    last: Ints


class MoveFinder:
    """Finds moves on a tape.

    Attributes:
        price: seconds that a byte is worth at present: what a needed operand costs that is kept longer instead.
    """

    def __init__(self, tape: Tape, budget: int) -> None:
        self.budget, self.price = budget, 1e-12
        self.arrays = arrays_of(tape)
        maker = np.full(len(tape.sizes), -1, dtype=np.int64)
        for step, made in enumerate(tape.steps):
            maker[list(made.writes)] = step
        seconds = np.array([max(step.seconds, 1e-9) for step in tape.steps], dtype=np.float64)
        once = np.array([step.once for step in tape.steps], dtype=np.bool_)
        self.needs = Needs(maker, seconds, once)
        self._steps = np.zeros(len(tape.steps), dtype=np.int64)

    def candidates(self, sequence: Sequence[int], found: Trace, position: int) -> list[Move]:
        """The most promising gaps around a position."""
        following = np.full(len(self.arrays.sizes), -2, dtype=np.int64)
        _next_uses(np.asarray(sequence[position:], dtype=np.int64), position, self.arrays, following)
        alive = np.flatnonzero((found.first < position) & (found.last > position) & (found.first >= 0))
        sizes = self.arrays.sizes[found.value[alive]]
        moves: dict[tuple[tuple[int, ...], int], Move] = {}
        over = np.cumsum(np.concatenate([[0], found.live > self.budget]))
        computed = _computed(found, len(self.arrays.sizes))
        for instance in alive[np.argsort(-sizes, kind="stable")][:_LARGEST]:
            value = int(found.value[instance])
            before = int(following[value])
            if before <= position or self.needs.once[self.needs.maker[value]]:
                continue
            for price in (0.0, self.price, 8 * self.price, np.inf):
                move = self._close(value, before, position, computed, over, price)
                if move is not None:
                    known = moves.get((move.steps, before))
                    if known is None or move.score < known.score:
                        moves[move.steps, before] = move
        return sorted(moves.values(), key=lambda move: move.score)[:_TRIED]

    def _close(
        self, value: int, before: int, position: int, computed: Computed, over: Ints, price: float
    ) -> Move | None:
        """What it takes to compute a value again before a position."""
        count, net = _needed(value, before, position, price, self.arrays, self.needs, computed, over, self._steps)
        if count < 0 or net <= 0:
            return None
        steps = np.sort(self._steps[:count])
        seconds = float(self.needs.seconds[steps].sum())
        return Move(tuple(steps.tolist()), before, seconds, seconds / net)


def _computed(found: Trace, values: int) -> Computed:
    """The computations of a trace, value by value."""
    order = np.argsort(found.value, kind="stable")
    start = np.searchsorted(found.value[order], np.arange(values + 1))
    return Computed(start.astype(np.int64), found.first[order], found.last[order])


@kernel()
def _next_uses(rest: Ints, position: int, arrays: Arrays, following: Ints) -> None:
    """For each value its first reader in the rest of a sequence; -1 where it is made again before, -2 where nobody is.

    Args:
        position: of the first step of the rest.
    """
    read_start, read, write_start, write = arrays.read_start, arrays.read, arrays.write_start, arrays.write
    for place in range(len(rest)):
        step = rest[place]
        for k in range(read_start[step], read_start[step + 1]):
            if following[read[k]] == -2:
                following[read[k]] = position + place
        for k in range(write_start[step], write_start[step + 1]):
            if following[write[k]] == -2:
                following[write[k]] = -1


@helper()
def _newest(value: int, before: int, start: Ints, first: Ints, last: Ints) -> int:
    """The last read of the newest computation of a value in front of a position; -1 where there is none."""
    for k in range(start[value + 1] - 1, start[value] - 1, -1):
        if first[k] < before:
            return int(last[k])
    return -1


@kernel()
def _needed(
    value: int,
    before: int,
    position: int,
    price: float,
    arrays: Arrays,
    needs: Needs,
    computed: Computed,
    over: Ints,
    steps: Ints,
) -> tuple[int, int]:
    """The steps that compute a value again before a position: what they need is there, is kept, or made again, too.

    Args:
        price: seconds of a byte that is kept longer where something is above the budget.
        over: how many positions in front of each one are above the budget.
        steps: is filled with the steps.

    Returns:
        how many steps, and the bytes that are alive less at `position`; -1 steps where it cannot be done.
    """
    read_start, read, sizes, arguments = arrays.read_start, arrays.read, arrays.sizes, arrays.arguments
    maker, seconds, once = needs
    start, first, last = computed
    again = np.zeros(len(once), dtype=np.bool_)
    kept = np.zeros(len(sizes), dtype=np.bool_)
    todo = [maker[value]]
    count = 0
    while len(todo) > 0:
        step = todo.pop()
        if again[step]:
            continue
        if once[step] or count > _DEEP:
            return -1, 0
        again[step] = True
        steps[count] = step
        count += 1
        for k in range(read_start[step], read_start[step + 1]):
            operand = read[k]
            if operand < arguments or again[maker[operand]] or kept[operand]:
                continue
            used = _newest(operand, before, start, first, last)
            if used >= before:
                continue
            source = maker[operand]
            keep = price * sizes[operand] if over[before] > over[max(used, 0)] else 0.0
            total = seconds[source]  # about what it takes to make it again: one level of what that needs
            for j in range(read_start[source], read_start[source + 1]):
                if read[j] >= arguments and _newest(read[j], before, start, first, last) < before:
                    total += seconds[maker[read[j]]]
            if once[source] or keep <= total:
                kept[operand] = True
            else:
                todo.append(source)
    net = sizes[value]
    for n in range(count):
        for k in range(read_start[steps[n]], read_start[steps[n] + 1]):
            operand = read[k]
            if kept[operand] and not again[maker[operand]] and _newest(operand, before, start, first, last) < position:
                net -= sizes[operand]
                kept[operand] = False
    return count, net
