"""The same computations in another order: what is alive at one position, and need not be.

A value is not alive at a position that all its readers come before, or that its maker comes behind. So either the
readers, with everything they still wait for, move in front of the position, or the maker, with everything that waits
for it, moves behind it. Values do not change: each reader still finds what it reads made before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from jogak.memory.tape import Tape
from jogak.memory.trace import Arrays, Trace, arrays_of, trace

_LARGEST = 16
"""Values with most bytes that are looked at around one position."""
_TOGETHER = 120
"""Steps that move at once, at most."""
_POSITIONS = 5
_APART = 8
_FINER = 200
"""The goal of the next round is this part of the present peak lower."""


class Shifter:
    """Other orders of sequences of a tape, with or without repeats."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.sizes = np.asarray(tape.sizes, dtype=np.int64)

    def around(self, sequence: Sequence[int], found: Trace, position: int) -> Iterator[list[int]]:
        """Sequences in which one of the largest values is not alive where it is alive at a position now."""
        sources, readers = self._links(sequence)
        alive = np.flatnonzero((found.first < position) & (found.last > position) & (found.first >= 0))
        alive = alive[alive >= self.tape.arguments]
        for instance in alive[np.argsort(-self.sizes[found.value[alive]], kind="stable")][:_LARGEST].tolist():
            maker, value = int(found.first[instance]), int(found.value[instance])
            later = [r for r in readers[maker] if r > position and value in self.tape.steps[sequence[r]].reads]
            if found.last[instance] < len(sequence):
                earlier = _closure(later, sources, position, len(sequence))
                if earlier is not None and position not in earlier:
                    yield _moved(sequence, earlier, position)
            behind = _closure([maker], readers, 0, position)
            if behind is not None and position not in behind:
                yield _moved(sequence, behind, position + 1)
                first = min((r for p in behind for r in readers[p] if r not in behind), default=len(sequence))
                if first > position + 1:
                    yield _moved(sequence, behind, first)

    def _links(self, sequence: Sequence[int]) -> tuple[list[list[int]], list[list[int]]]:
        """For each position those that make what it reads, and those that read what it makes."""
        current: dict[int, int] = {}
        sources: list[list[int]] = []
        readers: list[list[int]] = [[] for _ in sequence]
        for position, number in enumerate(sequence):
            step = self.tape.steps[number]
            sources.append(sorted({current[v] for v in step.reads if v >= self.tape.arguments}))
            for source in sources[-1]:
                readers[source].append(position)
            current.update((value, position) for value in step.writes)
        return sources, readers


def _closure(start: Sequence[int], links: Sequence[Sequence[int]], low: int, high: int) -> set[int] | None:
    """Positions and all that they lead to within a range; None where that is much."""
    found = set(start)
    waiting = list(found)
    while waiting:
        for other in links[waiting.pop()]:
            if low <= other <= high and other not in found:
                found.add(other)
                waiting.append(other)
        if len(found) > _TOGETHER:
            return None
    return found


def _moved(sequence: Sequence[int], positions: set[int], to: int) -> list[int]:
    """The sequence with some positions, in their order, in front of another one."""
    block = [sequence[p] for p in sorted(positions)]
    before = [step for p, step in enumerate(sequence[:to]) if p not in positions]
    return [*before, *block, *(step for p, step in enumerate(sequence[to:], to) if p not in positions)]


def shift(tape: Tape, sequence: Sequence[int], rounds: int = 200) -> list[int]:
    """Local search: move steps away from the highest positions as long as that lowers them.

    Args:
        rounds: how many moves are made at most.

    Returns:
        A sequence of the same steps; its peak is never higher.
    """
    arrays, shifter = arrays_of(tape), Shifter(tape)
    now = best = list(sequence)
    found = trace(arrays, now)
    goal = peak = found.peak
    for _ in range(rounds):
        if found.peak <= goal:
            goal = found.peak - max((found.peak - tape.resident) // _FINER, 1)
        after = _lower(arrays, shifter, now, found, goal)
        if after is None:
            break
        now, found = after, trace(arrays, after)
        if found.peak < peak:
            best, peak = now, found.peak
    return best


def _lower(arrays: Arrays, shifter: Shifter, sequence: list[int], found: Trace, goal: int) -> list[int] | None:
    """The sequence after the change that takes most off above a goal, at the highest position where one does."""
    excess = float(np.maximum(found.live - goal, 0).sum())
    tried: list[int] = []
    for position in map(int, np.argsort(-found.live, kind="stable")):
        if found.live[position] <= goal or len(tried) == _POSITIONS:
            return None
        if any(abs(position - other) < _APART for other in tried):
            continue
        tried.append(position)
        least, best = excess, None  # type: float, list[int] | None
        for other in shifter.around(sequence, found, position):
            left = float(np.maximum(trace(arrays, other).live - goal, 0).sum())
            if left < least:
                least, best = left, other
        if best is not None:
            return best
    return None
