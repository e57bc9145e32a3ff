"""Plans that all layers share: found on a tape of a few layers, whatever their number.

A pattern says what is computed again in front of a step, in terms of layers: "in front of step k of each layer of the
backward run, step j of the same layer of the forward run". It unfolds to a sequence of the short tape, whose live bytes
tell those of the whole (`ShortTape.whole_live`), and to one of the whole tape, whose peak has the last word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
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
_LESS = 0.05
"""By which part of the budget, beyond the arguments, the next pattern needs less."""
_LATEST = 8
"""Plans whose sequences are kept: each is looked at several times before the next."""


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
        self._seconds = np.array([step.seconds for step in layered.tape.steps])

    def added(self, found: Unfolded) -> float:
        """Seconds of the repeats of a sequence of this tape."""
        return float(self._seconds[found.sequence[found.element >= 0]].sum())

    def layers(self, anchor: Anchor) -> range:
        """The layers of an anchor in a run."""
        return self._layered.runs[anchor[0]].layers

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


def trim(
    pattern: Pattern, order: Sequence[Repeat], unfold: Unfolder, arrays: Arrays, budget: int, most: float = math.inf
) -> Unfolded | None:
    """The whole sequence of a pattern, its first elements in as few layers as the budget needs.

    Layers stay alike but for those elements: the last bytes are in part of the layers.

    Args:
        order: the elements as repeats, in the order in which they go.
        unfold: for the whole tape.
        arrays: the whole tape.
        most: seconds that all repeats may add.

    Returns:
        None where they add more.
    """
    start: dict[tuple[Anchor, int], int] = {}

    def peak(chosen: Mapping[tuple[Anchor, int], int]) -> int:
        return trace(arrays, unfold(pattern, chosen).sequence).peak

    now, kept = peak(start), 0.0
    in_layers = [repeat for repeat in order if repeat.key[0][0] != _ALONE]  # type: ignore[index]
    for repeat in in_layers[:_TRIMMED]:
        key: tuple[Anchor, int] = repeat.key  # type: ignore[assignment]
        layers = unfold.layers(key[0])
        start[key], now = _last(lambda at, key=key: peak({**start, key: at}), layers, now, budget)  # type: ignore[misc]
        kept += repeat.seconds * (layers.stop - start[key]) / len(layers)
        if kept >= most:
            return None
    return unfold(pattern, start)


def _last(peak: Callable[[int], int], layers: range, now: int, budget: int) -> tuple[int, int]:
    """The last layer in which an element may begin, and the peak then: between two layers the peak is about linear.

    Args:
        peak: what is needed when it begins in a layer; one behind the last layer: nowhere.
        now: what is needed when it is in all of them, within the budget.
    """
    low, high = layers.start, layers.stop
    above, halve = peak(high), False
    if above <= budget:
        return high, above
    while high - low > 1:
        guess = (low + high) // 2 if halve else low + (high - low) * (budget - now) // (above - now)
        middle = min(max(guess, low + 1), high - 1)
        found = peak(middle)
        if found <= budget:
            low, now = middle, found
        else:
            high, above = middle, found
        halve = not halve
    return low, now


def fold_plan(tape: Tape, budget: int, deadline: float, enough: float = 0.0) -> FoldedPlan | None:
    """A sequence whose layers are alike and whose peak, on the whole tape, is within a budget; None if none is found.

    One plan for all layers repeats a dear step in every one of them or in none. A mixture costs less: a pattern for
    less than the budget in some layers, without some of its repeats in the others. So the budget is lowered step by
    step, the pattern grows by what that takes, and the cheapest sequence of all is taken: the dearest repeats go
    first, in the end once more those that are dearest for the bytes that they take off.

    Args:
        tape: in the order that first computations keep.
        budget: bytes.
        deadline: of `time.thread_time()`.
        enough: added seconds with which no further pattern is tried.
    """
    whole = find_layers(tape)
    short = None if whole is None else shorten(whole)
    if whole is None or short is None:
        return None
    arrays, plans, unfold = arrays_of(tape), FoldedPlans(short), Unfolder(whole, short.whole)
    added, best, chosen = math.inf, None, None

    def trimmed(pattern: Pattern, value: Callable[[Repeat], float]) -> None:
        nonlocal added, best, chosen
        order = sorted(plans.repeats(pattern), key=value, reverse=True)
        found = trim(pattern, order, unfold, arrays, budget, added)
        if found is not None and unfold.added(found) < added:
            added, best, chosen = unfold.added(found), found.sequence.tolist(), pattern

    for pattern in _patterns(plans, unfold, arrays, budget, deadline):
        trimmed(pattern, lambda repeat: repeat.seconds)
        if added <= enough:
            break
    if best is None or chosen is None:
        return None
    peak, pattern = plans.look(chosen).trace.peak, chosen
    trimmed(
        pattern,
        lambda repeat: repeat.seconds / max(1, plans.look(plans.without(pattern, {repeat.key})).trace.peak - peak),
    )
    return FoldedPlan(best, short.layer_count)


def _patterns(plans: FoldedPlans, unfold: Unfolder, arrays: Arrays, budget: int, deadline: float) -> Iterator[Pattern]:
    """Patterns with which the whole tape keeps to a budget, each for less than the one before."""
    pattern: Pattern = {}
    resident = plans.short.layers.tape.resident
    step, target = max(int(_LESS * (budget - resident)), 1), budget
    while target > resident:
        planner = Planner(plans, MoveFinder(plans.short.layers.tape, target), deadline)
        after = planner.repair(pattern)
        if planner.peak(after) > target:
            return
        after = planner.prune(after)
        above = trace(arrays, unfold(after).sequence).peak - budget
        if above <= 0 and after != pattern:
            yield after
        pattern, target = after, target - (min(max(above, step // 4), step) if above > 0 else step)
