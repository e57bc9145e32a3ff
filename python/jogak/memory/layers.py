"""Repeated layers of a tape: where they are, and the tape with most of them left out.

Layers show as runs of steps that repeat with a period: in the forward pass, in the backward pass (the last layer
first), in the optimizer. What the runs read of one another tells which segments belong to one layer. A tape with
layers left out in the middle is a tape, too: what came from a layer that is gone comes from the one at the same
distance. The memory of the whole follows from it (`ShortTape.whole_live`): each layer that was left out adds to a run
what the one in front of the gap adds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jogak.memory.tape import Step, Tape
from jogak.search.jit import Ints
from jogak.search.runs import find_runs

Place = tuple[int, int, int]
"""A step in a layer: the run, the layer, and the number in the run's period."""

_KEPT = 2
"""Layers that stay on each side of the gap: the outer one may differ, where the program begins and ends."""
_LEFT_OUT = 2
"""Layers that have to go for a shorter tape to be worth it."""
_EDGES = 3
"""How many segments more or less than the longest run the others have: outer layers may not belong to a run."""
_NEAR = 2
"""Layers that are read at most this far away count by their distance, all others by themselves."""


@dataclass(frozen=True)
class Run:
    """Steps that repeat.

    Attributes:
        start: the first step.
        period: steps of a segment.
        count: segments.
        first, sign: segment i belongs to the layer `first + sign * i`.
    """

    start: int
    period: int
    count: int
    first: int
    sign: int

    @property
    def layers(self) -> range:
        """The layers that have a segment, from the lowest."""
        last = self.first + self.sign * (self.count - 1)
        return range(min(self.first, last), max(self.first, last) + 1)


@dataclass(frozen=True)
class Layered:
    """A tape whose steps know their layers.

    Attributes:
        tape: the steps.
        runs: which of them repeat.
        place: for each step its layer; None outside all runs.
    """

    tape: Tape
    runs: Sequence[Run]
    place: Sequence[Place | None]

    @cached_property
    def step(self) -> dict[Place, int]:
        """Where each place is."""
        return {place: number for number, place in enumerate(self.place) if place is not None}

    @cached_property
    def tables(self) -> list[Ints]:
        """For each run [layer - its lowest, number in the period] the step; -1 where there is none."""
        found = [np.full((len(run.layers), run.period), -1, dtype=np.int64) for run in self.runs]
        for (run, layer, at), step in self.step.items():
            found[run][layer - self.runs[run].layers.start, at] = step
        return found


@dataclass(frozen=True)
class ShortTape:
    """A tape without its middle layers.

    Attributes:
        layers: the short tape.
        whole: for each of its steps the step of the whole tape.
        left_out: how many layers are missing.
        gaps: for each run the first steps of the segments in front of the gap and behind it, in the short tape.
    """

    layers: Layered
    whole: Sequence[int]
    left_out: int
    gaps: Sequence[tuple[int, int]]

    @property
    def layer_count(self) -> int:
        """Layers of the whole tape."""
        return len(_common(self.layers.runs))

    def whole_live(self, live: Ints, first: Ints) -> Ints:
        """Live bytes of the whole tape at the positions of a sequence of the short one, whose layers are alike.

        Args:
            live: bytes at each position of the short sequence.
            first: for each step the first position of what stands in front of it: its repeats, or itself.
        """
        whole = live.copy()
        for before, behind in self.gaps:
            whole[first[behind] :] += self.left_out * (live[first[behind]] - live[first[before]])
        return whole


def find_layers(tape: Tape) -> Layered | None:
    """The layers of a tape; None where nothing repeats more than a few times."""
    runs = find_runs(_signatures(tape))
    runs = [run for run in runs if abs(run[2] - runs[0][2]) <= _EDGES]
    if not runs:
        return None
    aligned = _aligned(tape, runs)
    place: list[Place | None] = [None] * len(tape.steps)
    for number, run in enumerate(aligned):
        for at in range(run.count * run.period):
            place[run.start + at] = (number, run.first + run.sign * (at // run.period), at % run.period)
    return Layered(tape, aligned, place)


def _signatures(tape: Tape) -> list[int]:
    """Numbers that are equal for steps that do the same to values of the same sizes."""
    known: dict[Hashable, int] = {}

    def described(step: Step) -> Hashable:
        reads = tuple((tape.sizes[v], v < tape.arguments) for v in step.reads)
        writes = tuple((tape.sizes[v], v in tape.results) for v in step.writes)
        reuse = tuple(tuple(step.reads.index(v) for v in row if v in step.reads) for row in step.reuse)
        return reads, writes, reuse, f"{step.seconds:.6e}", step.once

    return [known.setdefault(described(step), len(known)) for step in tape.steps]


def _aligned(tape: Tape, found: Sequence[tuple[int, int, int]]) -> list[Run]:
    """The runs that are linked with the longest one by what they read, with their layers."""
    owner = [(-1, 0)] * len(tape.steps)
    for number, (start, period, count) in enumerate(found):
        owner[start : start + period * count] = [(number, at // period) for at in range(period * count)]
    votes = _votes(tape, owner)
    where = {0: (0, 1)}
    waiting = [0]
    while waiting:
        one = waiting.pop(0)
        for (a, b), (sign, shift) in votes.items():
            if one not in (a, b) or (a in where and b in where):
                continue
            # segment j of b goes with segment i of a where j = shift + sign * i, and so i = sign * (j - shift)
            first, direction = where[one]
            if one == a:
                where[b] = first - direction * sign * shift, direction * sign
            else:
                where[a] = first + direction * shift, direction * sign
            waiting.append(b if one == a else a)
    return [Run(*found[number], first, sign) for number, (first, sign) in sorted(where.items())]


def _votes(tape: Tape, owner: Sequence[tuple[int, int]]) -> dict[tuple[int, int], tuple[int, int]]:
    """For each pair of runs how their segments go together, (sign, shift), as most reads say."""
    makers = tape.makers
    counted: dict[tuple[int, int], Counter[tuple[int, int]]] = {}
    for number, step in enumerate(tape.steps):
        run, segment = owner[number]
        for value in step.reads if run >= 0 else ():
            other, source = owner[makers[value]] if value in makers else (-1, 0)
            if other >= 0 and other != run:
                a, i, b, j = (other, source, run, segment) if other < run else (run, segment, other, source)
                counted.setdefault((a, b), Counter()).update([(1, j - i), (-1, j + i)])
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for pair, counter in sorted(counted.items(), key=lambda item: -max(item[1].values())):
        how, count = counter.most_common(1)[0]
        if 4 * count > counter.total():  # every read votes twice
            best[pair] = how
    return best


def shorten(layered: Layered) -> ShortTape | None:
    """Leave out all layers but a few at both ends; None where that does not leave out enough, or no tape is left."""
    runs = layered.runs
    common = _common(runs)
    last = common.start + _KEPT - 1
    left_out = len(common) - 2 * _KEPT
    if left_out < _LEFT_OUT:
        return None

    def short_layer(layer: int) -> int | None:
        if last < layer <= last + left_out:
            return None
        return layer if layer <= last else layer - left_out

    return _Shortener(layered, last, left_out, short_layer_of=[short_layer(x) for x in _all_layers(runs)]).made()


def _common(runs: Sequence[Run]) -> range:
    """The layers that have a segment in every run."""
    return range(max(run.layers.start for run in runs), min(run.layers.stop for run in runs))


def _all_layers(runs: Sequence[Run]) -> range:
    return range(min(run.layers[0] for run in runs), max(run.layers[-1] for run in runs) + 1)


class _Shortener:
    def __init__(self, layered: Layered, last: int, left_out: int, short_layer_of: Sequence[int | None]) -> None:
        self.layered, self.last, self.left_out = layered, last, left_out
        low = _all_layers(layered.runs)[0]
        self.short = {low + at: layer for at, layer in enumerate(short_layer_of)}
        self.makers = {
            value: (number, output)
            for number, step in enumerate(layered.tape.steps)
            for output, value in enumerate(step.writes)
        }
        self.whole = [n for n, place in enumerate(layered.place) if place is None or self.short[place[1]] is not None]
        self.number = {step: at for at, step in enumerate(self.whole)}
        self.places = [self._short_place(layered.place[step]) for step in self.whole]
        self.step = {place: at for at, place in enumerate(self.places) if place is not None}

    def _short_place(self, place: Place | None) -> Place | None:
        if place is None:
            return None
        layer = self.short[place[1]]
        assert layer is not None, "the layers that are left out have no place"
        return place[0], layer, place[2]

    def made(self) -> ShortTape | None:
        tape = self.layered.tape
        arguments, sizes = self._arguments()
        numbers: dict[tuple[int, int], int] = {}
        for at, number in enumerate(self.whole):
            for output in range(len(tape.steps[number].writes)):
                numbers[at, output] = len(sizes) + len(numbers)
        count, steps = len(sizes), list[Step]()
        results = {arguments[value] for value in tape.results if value in arguments}
        for at, number in enumerate(self.whole):
            step = tape.steps[number]
            moved = {v: arguments[v] if v in arguments else self._read(at, v, numbers) for v in step.reads}
            if any(new is not None and new >= len(sizes) for new in moved.values()):
                return None  # it reads what comes later
            kept = tuple(dict.fromkeys(new for new in moved.values() if new is not None))
            reuse = tuple(tuple(new for v in row if (new := moved.get(v)) is not None) for row in step.reuse)
            writes = tuple(numbers[at, output] for output in range(len(step.writes)))
            results |= {new for new, old in zip(writes, step.writes, strict=True) if old in tape.results}
            sizes += [tape.sizes[value] for value in step.writes]
            steps.append(Step(kept, writes, reuse, step.seconds, step.once))
        short = Layered(Tape(steps, sizes, count, frozenset(results)), self.layered.runs, self.places)
        return ShortTape(short, self.whole, self.left_out, list(self._gaps()))

    def _arguments(self) -> tuple[dict[int, int], list[int]]:
        """The numbers of the arguments that are left, and the bytes of all: those that nobody reads are one."""
        tape = self.layered.tape
        read = {value for step in self.whole for value in tape.steps[step].reads} | tape.results
        left = [value for value in range(tape.arguments) if value in read]
        sizes = [tape.sizes[value] for value in left]
        return {value: at for at, value in enumerate(left)}, [*sizes, tape.resident - sum(sizes)]

    def _read(self, at: int, value: int, numbers: dict[tuple[int, int], int]) -> int | None:
        """The value that a short step reads instead of one of the whole tape; None where that is gone."""
        maker, output = self.makers[value]
        source, here = self.layered.place[maker], self.layered.place[self.whole[at]]
        if source is None:
            return numbers[self.number[maker], output]
        target: int | None
        if here is not None and abs(source[1] - here[1]) <= _NEAR:
            place = self.places[at]
            assert place is not None, "a step in a layer has a place"
            target = self.step.get((source[0], place[1] + source[1] - here[1], source[2]))
        else:
            target = self.number.get(maker)
        return None if target is None else numbers[target, output]

    def _gaps(self) -> Iterator[tuple[int, int]]:
        for number, run in enumerate(self.layered.runs):
            ends = (self.last, self.last + 1) if run.sign > 0 else (self.last + 1, self.last)
            before, behind = (self.step[number, layer, 0] for layer in ends)
            yield before, behind
