"""What closes a gap in a plan: a value dies early and is computed again before its next use."""

from __future__ import annotations

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


class Found(NamedTuple):
    """Moves as the kernel leaves them.

    Attributes:
        start: where the steps of each move begin in `steps`, and behind the last one their end.
        before: the position that it goes in front of.
        seconds, score: those of the move.
    """

    start: Ints
    before: Ints
    seconds: Floats
    score: Floats
    steps: Ints


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

    def candidates(self, sequence: Ints, found: Trace, position: int) -> list[Move]:
        """The most promising gaps around a position."""
        alive = np.flatnonzero((found.first < position) & (found.last > position) & (found.first >= 0))
        values = found.value[alive]
        values = values[np.argsort(-self.arrays.sizes[values], kind="stable")[:_LARGEST]]
        prices = np.array([0.0, self.price, 8 * self.price, np.inf])
        most = len(values) * len(prices)
        made = Found(
            np.zeros(most + 1, dtype=np.int64),
            np.empty(most, dtype=np.int64),
            np.empty(most),
            np.empty(most),
            np.empty(most * min(_DEEP + 1, len(self.needs.once)), dtype=np.int64),
        )
        over = np.cumsum(np.concatenate([[0], found.live > self.budget]))
        count = _close(values, sequence, position, prices, self.arrays, self.needs, found, over, made)
        moves: dict[tuple[tuple[int, ...], int], Move] = {}
        for number in np.argsort(made.score[:count], kind="stable").tolist():
            steps = tuple(made.steps[made.start[number] : made.start[number + 1]].tolist())
            before = int(made.before[number])
            move = Move(steps, before, float(made.seconds[number]), float(made.score[number]))
            moves.setdefault((steps, before), move)
            if len(moves) == _TRIED:
                break
        return list(moves.values())


@helper()
def _computed(found: Trace, values: int) -> Computed:
    """The computations of a trace, value by value."""
    value, first, last = found.value, found.first, found.last
    start = np.zeros(values + 2, dtype=np.int64)
    for k in range(len(value)):
        start[value[k] + 2] += 1
    for v in range(1, len(start)):
        start[v] += start[v - 1]
    by_first, by_last = np.empty_like(first), np.empty_like(last)
    for k in range(len(value)):
        row = start[value[k] + 1]
        by_first[row], by_last[row] = first[k], last[k]
        start[value[k] + 1] = row + 1
    return Computed(start, by_first, by_last)


@helper()
def _next_uses(sequence: Ints, position: int, arrays: Arrays) -> Ints:
    """For each value its first reader from a position on; -1 where it is made again before, -2 where nobody is."""
    read_start, read, write_start, write = arrays.read_start, arrays.read, arrays.write_start, arrays.write
    following = np.full(len(arrays.sizes), -2, dtype=np.int64)
    for place in range(position, len(sequence)):
        step = sequence[place]
        for k in range(read_start[step], read_start[step + 1]):
            if following[read[k]] == -2:
                following[read[k]] = place
        for k in range(write_start[step], write_start[step + 1]):
            if following[write[k]] == -2:
                following[write[k]] = -1
    return following


@helper()
def _newest(value: int, before: int, start: Ints, first: Ints, last: Ints) -> int:
    """The last read of the newest computation of a value in front of a position; -1 where there is none."""
    for k in range(start[value + 1] - 1, start[value] - 1, -1):
        if first[k] < before:
            return int(last[k])
    return -1


@helper()
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
    again: Bools,
    kept: Bools,
) -> tuple[int, int]:
    """The steps that compute a value again before a position: what they need is there, is kept, or made again, too.

    Args:
        price: seconds of a byte that is kept longer where something is above the budget.
        over: how many positions in front of each one are above the budget.
        steps: is filled with the steps.
        again, kept: for each step and for each value False, before and after.

    Returns:
        how many steps, and the bytes that are alive less at `position`; -1 steps where it cannot be done.
    """
    read_start, read, sizes, arguments = arrays.read_start, arrays.read, arrays.sizes, arrays.arguments
    maker, seconds, once = needs
    start, first, last = computed
    todo = [maker[value]]
    longer = [value]  # a list of nothing has no type; what is computed again counts for nothing below
    count, possible = 0, True
    while len(todo) > 0:
        step = todo.pop()
        if again[step]:
            continue
        if once[step] or count > _DEEP:
            possible = False
            break
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
                longer.append(operand)
            else:
                todo.append(source)
    net = sizes[value]
    for operand in longer:
        kept[operand] = False
        if not again[maker[operand]] and _newest(operand, before, start, first, last) < position:
            net -= sizes[operand]
    for n in range(count):
        again[steps[n]] = False
    return count if possible else -1, net


@kernel()
def _close(
    values: Ints,
    sequence: Ints,
    position: int,
    prices: Floats,
    arrays: Arrays,
    needs: Needs,
    found: Trace,
    over: Ints,
    made: Found,
) -> int:
    """What it takes to compute each of some values again before its next use, at each of some prices.

    Args:
        values: that are alive at the position.
        over: how many positions in front of each one are above the budget.
        made: is filled with the moves.

    Returns:
        how many there are.
    """
    start, before, seconds, score, steps = made
    following = _next_uses(sequence, position, arrays)
    computed = _computed(found, len(arrays.sizes))
    again, kept = np.zeros(len(needs.once), dtype=np.bool_), np.zeros(len(arrays.sizes), dtype=np.bool_)
    moves = 0
    for value in values:
        if following[value] <= position or needs.once[needs.maker[value]]:
            continue
        for price in prices:
            here = steps[start[moves] :]
            count, net = _needed(
                value, following[value], position, price, arrays, needs, computed, over, here, again, kept
            )
            if count < 0 or net <= 0:
                continue
            here[:count].sort()
            start[moves + 1], before[moves] = start[moves] + count, following[value]
            seconds[moves] = needs.seconds[here[:count]].sum()
            score[moves] = seconds[moves] / net
            moves += 1
    return moves
