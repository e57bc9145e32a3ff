"""Rematerialization of whole programs: thousands of steps, the true peak, seconds from the cost model.

A plan is a sequence of steps with repeats. One move closes a gap: a value that is alive at the worst position, but not
used there, dies at its last use before it and is computed again right before its next use. What that needs is alive
there, is kept alive longer, or is itself computed again, whichever is cheaper at the present price of a byte. Moves are
chosen by seconds for each byte and step that they take off above the budget, until nothing is above it: the excess
falls with every move, so that it ends. Then repeats that turned out not to be needed are taken back, and parts of the
plan are torn out and solved again.

The bound: at any position of a plan that keeps the order of first computations, whatever the base keeps alive across it
is there or is computed again later, which costs at least what a program with a knapsack says.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from jogak.memory.folded import fold_plan
from jogak.memory.moments import Repeats, least_repeats
from jogak.memory.moves import MoveFinder
from jogak.memory.planner import FlatPlans, Planner
from jogak.memory.tape import Tape
from jogak.memory.trace import Trace, arrays_of, trace

_SHORT = 1_500
"""Steps up to which plans that treat every layer by itself are tried beside those that all layers share."""
_MOMENTS, _APART = 3, 12
"""Positions for which the integer program is solved, and how far they are apart."""
_NEAR = 1.03
"""What a plan may add, over the bound, with which no other one is looked for."""
_ALIKE = 1.05
"""How much more a plan may add whose layers are alike."""


@dataclass(frozen=True)
class Plan:
    """A sequence with repeats.

    Attributes:
        sequence: steps in order.
        peak: bytes.
        added_seconds: of the repeats.
        bound_seconds: no plan with this order of first computations adds less.
        fits: whether it keeps to the budget; otherwise it is the lowest that was found.
        layers: how many layers share one plan; 1 where every step was planned by itself.
    """

    sequence: list[int]
    peak: int
    added_seconds: float
    bound_seconds: float
    fits: bool
    layers: int = 1


def recompute(
    tape: Tape,
    order: Sequence[int],
    budget: int,
    told: Bound | None = None,
    *,
    time_limit: float = 20.0,
    improve: int = 40,
) -> Plan:
    """Repeat steps so that no position needs more than a budget.

    Layers that are alike get one plan, whose search does not take longer when there are more of them. The sequence is
    planned as a whole, too, where none is found, and where it is short; it has to be clearly cheaper then.

    Args:
        order: every step once.
        budget: bytes.
        told: what `bound_of` says for this budget, or for a larger one that the plan's bound is to be of.
        time_limit: seconds of this thread's CPU; the result does not depend on it unless it runs out.
        improve: how many parts of a plan of the whole are solved again.
    """
    deadline = time.thread_time() + time_limit
    told = told or bound_of(tape, order, budget)
    bound, base = told.seconds, tape.seconds
    plans = FlatPlans(tape)

    def made(sequence: list[int], layers: int = 1) -> Plan:
        sequence = without_waste(tape, sequence)
        added, peak = sum(tape.steps[step].seconds for step in sequence) - base, plans.look(sequence).trace.peak
        return Plan(sequence, peak, added, min(bound, added) if peak <= budget else bound, peak <= budget, layers)

    ordered = replace(tape, steps=[tape.steps[step] for step in order])
    folded = fold_plan(ordered, budget, time.thread_time() + time_limit / 2, _NEAR * bound)
    alike = None if folded is None else made([order[step] for step in folded.sequence], folded.layers)
    if alike is not None and len(tape.steps) > _SHORT:
        return alike
    planner = Planner(plans, MoveFinder(tape, budget), deadline)
    found = [planner.repair(start) for start in (list(order), *told.starts)]
    fitting = [planner.prune(sequence) for sequence in found if planner.peak(sequence) <= budget]
    if not fitting:
        return alike or made(min(found, key=planner.peak))
    apart = made(planner.improve(min(fitting, key=planner.added), improve))
    return alike if alike is not None and alike.added_seconds <= _ALIKE * apart.added_seconds else apart


def lower(tape: Tape, plan: Plan, budget: int, *, time_limit: float) -> Plan | None:
    """A plan with a few more repeats, for a budget that is a little less than its own; None where none is found."""
    plans = FlatPlans(tape)
    planner = Planner(plans, MoveFinder(tape, budget), time.thread_time() + time_limit)
    sequence = planner.repair(plan.sequence)
    if planner.peak(sequence) > budget:
        return None
    sequence = without_waste(tape, planner.prune(sequence))
    added = sum(tape.steps[step].seconds for step in sequence) - tape.seconds
    return replace(plan, sequence=sequence, peak=planner.peak(sequence), added_seconds=added)


def without_waste(tape: Tape, sequence: Sequence[int]) -> list[int]:
    """The sequence without repeats whose values nobody reads before they are made again."""
    first = {step: place for place, step in reversed(list(enumerate(sequence)))}
    needed: set[int] = set(tape.results)
    kept: list[int] = []
    for place in reversed(range(len(sequence))):
        step = tape.steps[sequence[place]]
        if first[sequence[place]] != place and not needed.intersection(step.writes):
            continue
        needed.difference_update(step.writes)
        needed.update(step.reads)
        kept.append(sequence[place])
    return kept[::-1]


def minimum_bytes(tape: Tape, skipped: Collection[int] = ()) -> int:
    """Bytes that no sequence can go below: each step needs what it reads and makes at once.

    What may lie in the bytes of an argument, as its next value does, needs none of its own.

    Args:
        skipped: numbers of steps whose need does not count.
    """
    most, inside = 0, set(range(tape.arguments))
    for number, step in enumerate(tape.steps):
        need = sum(tape.sizes[v] for v in step.reads if v not in inside)
        for value, over in zip(step.writes, step.reuse or [()] * len(step.writes), strict=True):
            alike = [c for c in over if tape.sizes[c] == tape.sizes[value]]
            if not inside.isdisjoint(alike):
                inside.add(value)
            need += 0 if alike else tape.sizes[value]
        if number not in skipped:
            most = max(most, need)
    return tape.resident + most


class Bound(NamedTuple):
    """What single positions say of all plans.

    Attributes:
        seconds: any plan adds at least that.
        starts: sequences that keep and repeat what the programs chose: they fit at one position, not always elsewhere.
    """

    seconds: float
    starts: list[list[int]]


def bound_of(tape: Tape, order: Sequence[int], budget: int, *, time_limit: float = 3.0) -> Bound:
    """A lower bound, and plans to start from.

    A fractional knapsack at many positions, and the integer program of some, which knows that what is computed again
    needs inputs (`jogak.memory.moments`).
    """
    found = trace(arrays_of(tape), order)
    seconds = {value: step.seconds for step in tape.steps for value in step.writes if not step.once}
    worst = [p for p in sorted(range(len(order)), key=lambda p: -found.live[p])[:20] if found.live[p] > budget]
    best = max((_knapsack(tape, found, p, budget, seconds) for p in worst), default=0.0)
    apart: list[int] = []
    for position in worst:
        if all(abs(position - other) >= _APART for other in apart) and len(apart) < _MOMENTS:
            apart.append(position)
    starts = []
    for position in apart:
        told = _moment(tape, order, found, position, budget, time_limit / _MOMENTS)
        best = max(best, told.added if math.isfinite(told.added) else 0.0)
        if told.dropped is not None:
            starts.append(_replay(tape, order, position, told.dropped))
    return Bound(best, starts)


def _moment(tape: Tape, order: Sequence[int], found: Trace, position: int, budget: int, time_limit: float) -> Repeats:
    """The program of one position: in whole numbers for short tapes."""
    across = np.flatnonzero((found.first < position) & (found.last > position))
    here = tape.steps[order[position]]
    own = {*range(tape.arguments), *here.reads, *here.writes}
    crossing = [value for value in found.value[across].tolist() if value not in own]
    past = [step for step in order[:position] if not tape.steps[step].once]
    reads = [[value for value in tape.steps[step].reads if value not in own] for step in past]
    makers = {value: step for step in order[:position] for value in tape.steps[step].writes}
    cost = {step: tape.steps[step].seconds for step in past}
    room = budget - (int(found.live[position]) - sum(tape.sizes[value] for value in crossing))
    relaxed = len(tape.steps) > _SHORT
    return least_repeats(crossing, past, reads, makers, tape.sizes, cost, room, time_limit, relaxed=relaxed)


def _replay(tape: Tape, order: Sequence[int], position: int, dropped: set[int]) -> list[int]:
    """The order, in which values dropped at a position are computed again just before somebody reads them."""
    makers = tape.makers
    gone, sequence = set(dropped), list(order[: position + 1])
    for step in order[position + 1 :]:
        waiting = [step]
        while waiting:
            lacking = {makers[value] for value in tape.steps[waiting[-1]].reads if value in gone}
            if lacking:
                waiting += sorted(lacking)
                continue
            made = waiting.pop()
            if made == step or gone.intersection(tape.steps[made].writes):
                sequence.append(made)
                gone.difference_update(tape.steps[made].writes)
    return sequence


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
