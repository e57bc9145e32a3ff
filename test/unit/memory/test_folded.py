"""Repeated layers: they are found, a few tell the memory of all, and a layer's plan does not depend on their number."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from jogak.memory.fit import fit
from jogak.memory.folded import FoldedPlans, Unfolder, _last, _patterns, fold_plan, trim
from jogak.memory.layers import find_layers, shorten
from jogak.memory.moves import MoveFinder
from jogak.memory.planner import Planner
from jogak.memory.recompute import bound_of, recompute
from jogak.memory.tape import Step, Tape, lay_out
from jogak.memory.trace import arrays_of, trace

BIG, SMALL, GRADIENT = 640, 64, 192


def training_step(layers: int, late_updates: bool = False) -> Tape:
    """A chain of layers of four ops with two kept values each, its backward pass, and an update of each weight.

    Values: the input, then the weights; the updates come right behind the gradients, or all at the end.
    """
    sizes = [SMALL, *[GRADIENT] * layers]
    steps: list[Step] = []
    weights = range(1, layers + 1)

    def make(reads: tuple[int, ...], size: int, seconds: float, over: tuple[int, ...] = ()) -> int:
        steps.append(Step(reads, (len(sizes),), (over,), seconds))
        sizes.append(size)
        return len(sizes) - 1

    def update(weight: int, gradient: int) -> int:
        square = make((gradient,), GRADIENT, 0.5)
        scaled = make((gradient, square), GRADIENT, 0.5, (square,))
        return make((scaled, weight), GRADIENT, 0.5, (weight,))

    x = make((0,), SMALL, 1.0)
    kept = []
    for weight in weights:
        normal = make((x,), SMALL, 1.0)
        wide = make((normal, weight), BIG, 4.0)
        active = make((wide,), BIG, 1.0)
        kept.append((x, normal, wide, active))
        x = make((active, x), SMALL, 4.0, (x,))
    gradient = make((x,), SMALL, 1.0)
    gradients = []
    for weight, (before, normal, wide, active) in zip(reversed(weights), reversed(kept), strict=True):
        back = make((gradient, active), BIG, 4.0)
        inner = make((back, wide), BIG, 1.0, (back,))
        gradients.append((weight, make((inner, normal), GRADIENT, 4.0)))
        if not late_updates:
            gradients[-1] = (0, update(weight, gradients[-1][1]))
        gradient = make((inner, before, gradient), SMALL, 4.0, (gradient,))
    updates = [update(weight, g) if weight else g for weight, g in gradients]
    return Tape(steps, sizes, 1 + layers, frozenset({*updates, gradient}))


def budget_of(tape: Tape, share: float) -> int:
    return int(tape.resident + share * (lay_out(tape).peak - tape.resident))


@pytest.mark.parametrize("late", [False, True])
def test_layers_of_the_runs_go_together(late):
    layered = find_layers(training_step(12, late))
    assert layered is not None
    forward, backward = layered.runs[0], layered.runs[1]
    assert {forward.sign, backward.sign} == {1, -1}
    makers = {
        value: place for step, place in zip(layered.tape.steps, layered.place, strict=True) for value in step.writes
    }
    for step, place in zip(layered.tape.steps, layered.place, strict=True):
        distances = {abs(makers[v][1] - place[1]) for v in step.reads if makers.get(v) and place}
        assert distances <= {0, 1}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("layers", [8, 12, 40])
def test_the_short_tape_tells_the_memory_of_the_whole(layers, late):
    tape = training_step(layers, late)
    short = shorten(find_layers(tape))
    assert short is not None
    assert len(short.layers.tape.steps) < len(training_step(8, late).steps)
    sequence = list(range(len(short.layers.tape.steps)))
    found = trace(arrays_of(short.layers.tape), sequence)
    live = short.whole_live(found.live, np.arange(len(sequence)))
    assert live.max() == lay_out(tape).peak
    whole = lay_out(tape).live
    assert [whole[step] for step in short.whole] == live.tolist()


@pytest.mark.parametrize("share", [0.75, 0.5, 0.35])
@pytest.mark.parametrize("late", [False, True])
def test_a_pattern_promises_what_the_whole_sequence_needs(share, late):
    tape = training_step(24, late)
    layered = find_layers(tape)
    short = shorten(layered)
    budget = budget_of(tape, share)
    planner = Planner(FoldedPlans(short), MoveFinder(short.layers.tape, budget), float("inf"))
    pattern = planner.repair({})
    assert planner.peak(pattern) <= budget
    sequence = Unfolder(layered, short.whole)(pattern).sequence
    assert lay_out(tape, sequence).peak == planner.peak(pattern)


@pytest.mark.parametrize("seed", range(20))
def test_the_last_layer_of_an_element_is_that_of_a_search_layer_by_layer(seed):
    draw = Random(seed)
    layers = range(draw.randint(0, 3), draw.randint(4, 70))
    heights = sorted(draw.choice([10, 1000, draw.randint(1, 10**6)]) for _ in range(layers.stop + 1))
    budget = draw.randint(heights[layers.start], heights[-1] + 10)
    asked: list[int] = []
    found = _last(lambda at: asked.append(at) or heights[at], layers, heights[layers.start], budget)
    last = max(at for at in range(layers.start, layers.stop + 1) if heights[at] <= budget)
    assert found == (last, heights[last])
    assert len(asked) <= 2 + 2 * len(layers).bit_length()


@pytest.mark.parametrize("late", [False, True])
def test_patterns_need_less_and_less_and_trimmed_ones_fill_the_budget(late):
    tape = training_step(24, late)
    layered = find_layers(tape)
    short = shorten(layered)
    budget = budget_of(tape, 0.6)
    arrays, plans, unfold = arrays_of(tape), FoldedPlans(short), Unfolder(layered, short.whole)
    peaks = []
    for pattern in _patterns(plans, unfold, arrays, budget, float("inf")):
        peaks.append(lay_out(tape, unfold(pattern).sequence).peak)
        order = sorted(plans.repeats(pattern), key=lambda repeat: -repeat.seconds)
        found = trim(pattern, order, unfold, arrays, budget)
        assert peaks[-1] <= lay_out(tape, found.sequence).peak <= budget
        assert unfold.added(found) <= unfold.added(unfold(pattern))
        assert trim(pattern, order, unfold, arrays, budget, 0.5 * unfold.added(found)) is None
    assert len(peaks) > 2
    assert peaks == sorted(peaks, reverse=True)


@pytest.mark.parametrize("share", [0.75, 0.5, 0.35])
@pytest.mark.parametrize(("layers", "slack"), [(24, 1.15), (96, 1.06)])
def test_layers_are_alike_and_near_the_bound(share, layers, slack):
    tape = training_step(layers)
    budget = budget_of(tape, share)
    plan = fold_plan(tape, budget, float("inf"))
    assert plan is not None
    assert lay_out(tape, plan.sequence).peak <= budget
    added = sum(tape.steps[step].seconds for step in plan.sequence) - sum(s.seconds for s in tape.steps)
    assert added <= slack * bound_of(tape, range(len(tape.steps)), budget).seconds
    assert len({tuple(row) for row in rows_by_layer(tape, plan.sequence).values()}) <= 8


def rows_by_layer(tape: Tape, sequence: list[int]) -> dict[int, list[tuple[int, ...]]]:
    """What is computed again in front of the steps of each layer but the outer ones, in terms of layers."""
    layered = find_layers(tape)
    found: dict[int, list[tuple[int, ...]]] = {}
    row: list[int] = []
    seen: set[int] = set()
    for step in sequence:
        place = layered.place[step]
        if step in seen:
            row.append(step)
            continue
        seen.add(step)
        if place is not None and 1 < place[1] < layered.runs[0].count - 2:
            inner = [(layered.place[each] or (-1, 0, each)) for each in row]
            found.setdefault(place[1], [])
            found[place[1]] += [(*place[::2], run, layer - place[1], at) for run, layer, at in inner]
        row = []
    return found


def test_a_tighter_pattern_in_some_layers_beats_one_that_just_fits():
    """The pattern for the budget itself adds 2.5 % more than the bound."""
    tape = training_step(32)
    budget = budget_of(tape, 0.25)
    plan = fold_plan(tape, budget, float("inf"))
    assert plan is not None
    assert lay_out(tape, plan.sequence).peak <= budget
    added = sum(tape.steps[step].seconds for step in plan.sequence) - tape.seconds
    assert added <= 1.001 * bound_of(tape, range(len(tape.steps)), budget).seconds


@pytest.mark.parametrize("share", [0.9, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.75, 0.5, 0.35))])
def test_folding_costs_little_against_planning_every_layer(share, monkeypatch):
    tape = training_step(12)
    base = sum(step.seconds for step in tape.steps)
    folded = fold_plan(tape, budget_of(tape, share), float("inf"))
    both = recompute(tape, range(len(tape.steps)), budget_of(tape, share))
    monkeypatch.setattr("jogak.memory.recompute.fold_plan", lambda *_: None)
    flat = recompute(tape, range(len(tape.steps)), budget_of(tape, share))
    added = sum(tape.steps[step].seconds for step in folded.sequence) - base
    assert [both.fits, flat.fits, flat.layers] == [True, True, 1]
    assert added <= 1.2 * flat.added_seconds
    assert both.added_seconds <= 1.05 * min(added, flat.added_seconds)


def test_few_layers_are_planned_by_themselves():
    tape = training_step(4)
    found = fit(tape, budget_of(tape, 0.6))
    assert [found.fits, found.layers] == [True, 1]


def test_arguments_of_layers_that_are_left_out_are_one():
    """The short tape of many layers is as small as that of few."""
    tape = training_step(40)
    short = shorten(find_layers(tape))
    few = shorten(find_layers(training_step(8)))
    assert short.layers.tape.resident == tape.resident
    assert len(short.layers.tape.sizes) == len(few.layers.tape.sizes)
