"""Plans that all layers share: found on a tape of a few layers, whatever their number.

A pattern says what is computed again in front of a step, in terms of layers: "in front of step k of each layer of the
backward run, step j of the same layer of the forward run". It unfolds to a sequence of the short tape, whose live bytes
tell those of the whole (`ShortTape.whole_live`), and to one of the whole tape, whose peak has the last word.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jogak.memory.layers import Layered, ShortTape, find_layers, shorten
from jogak.memory.moves import Move, MoveFinder
from jogak.memory.planner import Planner, Repeat, View
from jogak.memory.tape import Tape
from jogak.memory.trace import Arrays, arrays_of, trace
from jogak.search.jit import Ints

Anchor = tuple[int, int]
"""What repeats stand in front of: (run, number in its period), in each of its layers; or (-1, a step)."""
Element = tuple[int, int, int]
"""What is computed again: (run, how many layers further, number in the period); or (-1, 0, a step)."""
Pattern = Mapping[Anchor, tuple[Element, ...]]

_ALONE = -1
_FARTHEST = 2
"""Layers between a repeat and what it stands in front of."""
_TRIMMED = 16
"""Elements of a pattern that may end up in a part of the layers."""
_TARGETS = (1.0, 0.85, 0.7, 0.55)
"""Parts of the budget, beyond the arguments, that patterns are found for."""
_LATEST = 8
"""Plans whose sequences are kept: each is looked at several times before the next."""
_ATTEMPTS = 3
"""How often the target is lowered by what the whole tape needs more than the short one told."""


class FoldedPlan(NamedTuple):
    """A sequence for the whole tape.

    Attributes:
        sequence: steps with repeats.
        layers: how many layers share one plan.
    """

    sequence: list[int]
    layers: int


@dataclass(frozen=True)
class Unfolded:
    """A pattern on a tape.

    Attributes:
        sequence: steps with repeats.
        before: for each repeat, in the order of the pattern, the step that it stands in front of.
        element: for each position the number of the repeat; -1 where a step is computed for the first time.
        rows: for each element of the pattern its anchor, its number in the row, and the layers of its repeats.
    """

    sequence: Ints
    before: Ints
    element: Ints
    rows: list[tuple[Anchor, int, Ints]]

    @property
    def first(self) -> Ints:
        """For each step the position where the repeats in front of it begin."""
        steps = np.arange(len(self.sequence) - len(self.before))
        return steps + np.searchsorted(np.sort(self.before), steps, side="left")

    def key(self, repeat: int) -> tuple[Anchor, int, int]:
        """The anchor of a repeat, its number in the row, and the layer."""
        for anchor, number, layers in self.rows:
            if repeat < len(layers):
                return anchor, number, int(layers[repeat])
            repeat -= len(layers)
        raise IndexError("there are no more repeats")


class Unfolder:
    """Makes sequences of a tape from patterns."""

    def __init__(self, layered: Layered, whole: Sequence[int] | None = None) -> None:
        """For a tape.

        Args:
            layered: the tape, short or whole.
            whole: for each step of the short tape that of the whole one; None where `layered` is the short one.
        """
        self._layered, count = layered, len(layered.tape.steps)
        self._steps = np.arange(count)
        self._whole = self._steps if whole is None else np.asarray(whole)
        self._known: dict[tuple[Anchor, Element], tuple[Ints, Ints, Ints]] = {}

    def __call__(self, pattern: Pattern, start: Mapping[tuple[Anchor, int], int] | None = None) -> Unfolded:
        """The sequence of a pattern.

        Args:
            pattern: numbers of steps alone are those of the short tape.
            start: for some elements of rows the lowest layer in which they are computed again.
        """
        before, steps = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        rows: list[tuple[Anchor, int, Ints]] = []
        for anchor, row in pattern.items():
            for number, element in enumerate(row):
                layers, here, found = self._repeats(anchor, element)
                if start is not None and (anchor, number) in start:
                    kept = layers >= start[anchor, number]
                    layers, here, found = layers[kept], here[kept], found[kept]
                before.append(here)
                steps.append(found)
                rows.append((anchor, number, layers))
        where = np.concatenate(before)
        by_step = np.argsort(where, kind="stable")
        position = where[by_step] + np.arange(len(where))
        repeat = np.full(len(self._steps) + len(where), -1)
        repeat[position] = by_step
        sequence = np.empty_like(repeat)
        sequence[repeat < 0], sequence[position] = self._steps, np.concatenate(steps)[by_step]
        return Unfolded(sequence, where, repeat, rows)

    def _repeats(self, anchor: Anchor, element: Element) -> tuple[Ints, Ints, Ints]:
        """Where an element is repeated in front of an anchor: the layers, the steps of the anchor, those repeated."""
        known = self._known.get((anchor, element))
        if known is None:
            layers, here = self._places(anchor)
            found = self._elements(element, layers)
            kept = (here >= 0) & (found >= 0)
            known = self._known[anchor, element] = (layers[kept], here[kept], found[kept])
        return known

    def _places(self, anchor: Anchor) -> tuple[Ints, Ints]:
        """The layers of an anchor, and its step in each of them."""
        run, at = anchor
        if run == _ALONE:
            return np.zeros(1, np.int64), self._whole[at : at + 1]
        layers = self._layered.runs[run].layers
        return np.arange(layers.start, layers.stop), self._layered.tables[run][:, at]

    def _elements(self, element: Element, layers: Ints) -> Ints:
        """The step of an element for each layer of its anchor; -1 where there is none."""
        run, distance, at = element
        if run == _ALONE:
            return np.full(len(layers), self._whole[at])
        table = self._layered.tables[run]
        rows = layers + distance - self._layered.runs[run].layers.start
        inside = (rows >= 0) & (rows < len(table))
        return np.where(inside, table[np.where(inside, rows, 0), at], -1)


class FoldedPlans:
    """Patterns as plans; a repeat's key is its anchor and number in the row."""

    def __init__(self, short: ShortTape) -> None:
        tape = short.layers.tape
        self.short, self.steps, self.arrays = short, tape.steps, arrays_of(tape)
        self._unfold, self._latest = Unfolder(short.layers), dict[int, tuple[Pattern, Unfolded]]()
        makers = tape.makers
        self.ready = np.array([max((makers.get(v, -1) for v in step.reads), default=-1) for step in tape.steps])
        """For each step the last of those that make what it reads."""

    def unfolded(self, plan: Pattern) -> Unfolded:
        """The plan on the short tape; the last few are kept."""
        known = self._latest.get(id(plan))
        if known is None:
            if len(self._latest) == _LATEST:
                del self._latest[next(iter(self._latest))]
            known = self._latest[id(plan)] = (plan, self._unfold(plan))
        return known[1]

    def look(self, plan: Pattern) -> View:
        """The sequence of the short tape, with the live bytes of the whole one."""
        unfolded = self.unfolded(plan)
        found = trace(self.arrays, unfolded.sequence)
        whole = self.short.whole_live(found.live, unfolded.first)
        return View(unfolded.sequence, found._replace(live=whole))

    def insert(self, plan: Pattern, move: Move) -> tuple[Pattern, float] | None:
        """The pattern with a move of one layer in every layer."""
        anchor, number, layer = self._origin(plan, move.before)
        elements: list[Element] = []
        for step in move.steps:
            place = self.short.layers.place[step]
            if anchor[0] == _ALONE or place is None:
                elements.append((_ALONE, 0, step))
            elif abs(place[1] - layer) > _FARTHEST:
                return None
            else:
                elements.append((place[0], place[1] - layer, place[2]))
        row = plan.get(anchor, ())
        made = {**plan, anchor: (*row[:number], *elements, *row[number:])}
        after = self.unfolded(made)
        repeated = after.sequence[after.element >= 0]
        if not np.all(self.ready[repeated] < after.before[after.element[after.element >= 0]]):
            return None  # in some layer it would come before what it reads
        return made, move.seconds * self._layers(anchor)

    def _origin(self, plan: Pattern, position: int) -> tuple[Anchor, int, int]:
        """The anchor of a position, the number in its row that something in front of it gets, and the layer."""
        unfolded = self.unfolded(plan)
        element = int(unfolded.element[position])
        if element >= 0:
            return unfolded.key(element)
        step = int(unfolded.sequence[position])
        place = self.short.layers.place[step]
        anchor = (_ALONE, step) if place is None else (place[0], place[2])
        return anchor, len(plan.get(anchor, ())), 0 if place is None else place[1]

    def _layers(self, anchor: Anchor) -> int:
        """Layers in which the row of an anchor stands, in the whole tape."""
        return 1 if anchor[0] == _ALONE else self.short.layers.runs[anchor[0]].count

    def repeats(self, plan: Pattern) -> list[Repeat]:
        """The elements of all rows, each with its seconds in all layers."""
        found: dict[tuple[Anchor, int], Repeat] = {}
        unfolded = self.unfolded(plan)
        names = [(anchor, number) for anchor, number, layers in unfolded.rows for _ in layers]
        for position in np.flatnonzero(unfolded.element >= 0).tolist():
            anchor, number = names[int(unfolded.element[position])]
            seconds = self.steps[int(unfolded.sequence[position])].seconds * self._layers(anchor)
            found.setdefault((anchor, number), Repeat(position, (anchor, number), seconds))
        return list(found.values())

    def without(self, plan: Pattern, keys: Collection[Hashable]) -> Pattern:
        """The pattern without some elements."""
        return {
            anchor: tuple(element for number, element in enumerate(row) if (anchor, number) not in keys)
            for anchor, row in plan.items()
        }


def trim(pattern: Pattern, plans: FoldedPlans, whole: Layered, arrays: Arrays, budget: int) -> Unfolded:
    """The whole sequence of a pattern, its dearest elements in as few layers as the budget needs.

    Layers stay alike but for those elements: the last bytes are in part of the layers.
    """
    unfold = Unfolder(whole, plans.short.whole)
    start: dict[tuple[Anchor, int], int] = {}

    def fits(chosen: Mapping[tuple[Anchor, int], int]) -> bool:
        return trace(arrays, unfold(pattern, chosen).sequence).peak <= budget

    repeats = sorted(plans.repeats(pattern), key=lambda repeat: -repeat.seconds)
    keys: list[tuple[Anchor, int]] = [repeat.key for repeat in repeats]  # type: ignore[misc]
    for key in [key for key in keys if key[0][0] != _ALONE][:_TRIMMED]:
        low, high = whole.runs[key[0][0]].layers.start, whole.runs[key[0][0]].layers.stop
        while low < high:  # it fits when the element begins at `low`
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits({**start, key: middle}) else (low, middle - 1)
        start[key] = low
    return unfold(pattern, start)


def fold_plan(tape: Tape, budget: int, deadline: float, improve: int, enough: float = 0.0) -> FoldedPlan | None:
    """A sequence whose layers are alike and whose peak, on the whole tape, is within a budget; None if none is found.

    One plan for all layers repeats a dear step in every one of them or in none. A mixture costs less: a pattern for
    less than the budget in some layers, and in the first ones the same without its dearest elements (`trim`). So
    patterns for several targets are found, and the cheapest sequence is taken.

    Args:
        tape: in the order that first computations keep.
        budget: bytes.
        deadline: of `time.thread_time()`.
        improve: how many parts of the pattern for the budget itself are solved again; a quarter for the other targets.
        enough: added seconds with which no further target is tried.
    """
    whole = find_layers(tape)
    short = None if whole is None else shorten(whole)
    if whole is None or short is None:
        return None
    best: tuple[float, list[int]] | None = None
    arrays, plans = arrays_of(tape), FoldedPlans(short)
    for share in _TARGETS:
        target = tape.resident + int(share * (budget - tape.resident))
        rounds = improve if share == 1 else improve // 4
        pattern = _pattern(plans, whole, arrays, (target, budget), deadline, rounds)
        if pattern is None:
            break
        sequence = trim(pattern, plans, whole, arrays, budget).sequence.tolist()
        added = sum(tape.steps[step].seconds for step in sequence) - tape.seconds
        best = min(best or (added, sequence), (added, sequence))
        if best[0] <= enough:
            break
    return None if best is None else FoldedPlan(best[1], short.layer_count)


def _pattern(
    plans: FoldedPlans, whole: Layered, arrays: Arrays, bytes_: tuple[int, int], deadline: float, improve: int
) -> Pattern | None:
    """A pattern for a target, with which the whole tape keeps to the budget.

    Args:
        bytes_: the target, and the budget that is not less.
    """
    target, budget = bytes_
    for _ in range(_ATTEMPTS):
        planner = Planner(plans, MoveFinder(plans.short.layers.tape, target), deadline)
        pattern = planner.repair({})
        if planner.peak(pattern) > target:
            return None
        pattern = planner.improve(planner.prune(pattern), improve)
        peak = trace(arrays, Unfolder(whole, plans.short.whole)(pattern).sequence).peak
        if peak <= budget:
            return pattern
        target -= peak - budget
    return None
