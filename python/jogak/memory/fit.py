"""Makes the program of one device fit a budget: order first, then rematerialization, with offsets that prove it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from jogak.memory.offsets import Placement, place
from jogak.memory.order import early_order, low_order
from jogak.memory.recompute import Bound, Plan, bound_of, lower, minimum_bytes, recompute
from jogak.memory.tape import Tape
from jogak.memory.trace import arrays_of, trace

_LOWERED = (0.0, 0.25, 0.5, 1.0, 2.0)
"""By how much the peak is lowered, in parts of what packing lost of the first plan, until one is packed well enough."""
_WORTH = 0.9
"""A further order is tried when its bound is below this part of what the best plan adds."""


@dataclass(frozen=True)
class Fit:
    """A sequence for a budget.

    Attributes:
        sequence: steps in order, with repeats.
        placement: its buffers and offsets.
        budget: bytes that were asked for.
        fits: whether the arena is within the budget.
        added_seconds: of the repeats.
        bound_seconds: no plan for the budget with this order of first computations adds less.
        minimum_bound: bytes that no plan can go below.
        layers: how many layers share one plan of what is computed again; 1 where none do.
        unbucketed: how many buckets of collectives were taken apart.
        latency_seconds: how much longer that takes.
    """

    sequence: Sequence[int]
    placement: Placement
    budget: int
    fits: bool
    added_seconds: float = 0.0
    bound_seconds: float = 0.0
    minimum_bound: int = 0
    layers: int = 1
    unbucketed: int = 0
    latency_seconds: float = 0.0


def fit(tape: Tape, budget: int, *, time_limit: float = 20.0, improve: int = 40) -> Fit:
    """The cheapest sequence that was found whose arena is within a budget; the lowest one if none is.

    The program's own order stays where it fits. Where packing loses bytes, the peak of the cheapest plan is lowered
    until it is packed well enough; where that cannot be, the plan of the next order is packed.

    Args:
        time_limit: seconds of this thread's CPU for search, so that a busy machine finds the same plan; the result does
            not depend on it unless it runs out.
        improve: how many parts of the plan are solved again.
    """
    minimum = minimum_bytes(tape)
    own_order = tuple(range(len(tape.steps)))
    own = _placed(tape, own_order, budget)
    if own is not None:
        return Fit(own_order, own, budget, True, minimum_bound=minimum)
    low = tuple(low_order(tape))
    ordered = _placed(tape, low, budget)
    if ordered is not None:
        return Fit(low, ordered, budget, True, minimum_bound=minimum)
    # Solved once: plans for the lower targets of later attempts are plans for the budget, too.
    early = tuple(early_order(tape))
    bounds = {order: bound_of(tape, order, budget) for order in dict.fromkeys((own_order, low, early))}
    end = time.thread_time() + time_limit
    lowest: Fit | None = None
    for order, plan in _recomputed(tape, bounds, budget, time_limit, improve):
        lost, now = 0, plan
        for part in _LOWERED:
            target = budget - int(part * lost)
            if part:
                left = max(end - time.thread_time(), time_limit / 4)
                now = _lowered(tape, order, plan, target, bounds[order], left)
            placed = place(tape, now.sequence, enough=budget, time_limit=1.0 if lost else 3.0)
            fits = placed.arena <= budget
            made = Fit(now.sequence, placed, budget, fits, now.added_seconds, plan.bound_seconds, minimum, now.layers)
            if fits:
                return made
            if lowest is None or placed.arena < lowest.placement.arena:
                lowest = made
            if not now.fits:
                break
            lost = lost or max(placed.arena - budget, budget // 500)
    assert lowest is not None, "there is an order"
    return lowest


def _recomputed(
    tape: Tape, bounds: Mapping[tuple[int, ...], Bound], budget: int, time_limit: float, improve: int
) -> list[tuple[tuple[int, ...], Plan]]:
    """Plans over some orders of first computations: those that fit, the cheapest first; the lowest one if none does.

    An order that is low by itself may keep what is dear to make again. Another one than the first is tried where none
    fits yet, or where its bound is clearly below the best plan.

    Args:
        bounds: the orders, with what single positions say of their plans.
    """
    found: list[tuple[tuple[int, ...], Plan]] = []
    best = inf
    for order, bound in sorted(bounds.items(), key=lambda item: item[1].seconds):
        if bound.seconds > _WORTH * best:
            continue
        plan = recompute(tape, order, budget, bound, time_limit=time_limit / len(bounds), improve=improve)
        found.append((order, plan))
        best = min(best, plan.added_seconds) if plan.fits else best
    fitting = [each for each in found if each[1].fits]
    return sorted(fitting, key=lambda each: each[1].added_seconds) or [min(found, key=lambda each: each[1].peak)]


def _lowered(tape: Tape, order: Sequence[int], plan: Plan, target: int, bound: Bound, time_limit: float) -> Plan:
    """A plan with a lower peak: the same with some repeats more, or a new one where layers are to stay alike."""
    nearby = None if plan.layers > 1 else lower(tape, plan, target, time_limit=time_limit)
    return nearby or recompute(tape, order, target, bound, time_limit=time_limit / 2, improve=0)


def _placed(tape: Tape, order: Sequence[int], budget: int) -> Placement | None:
    """The placement of an order, if its arena is within a budget."""
    if trace(arrays_of(tape), order).peak > budget:
        return None
    placed = place(tape, order, enough=budget)
    return placed if placed.arena <= budget else None


def fit_least(tape: Tape, *, time_limit: float = 20.0) -> Fit:
    """A sequence whose arena is as small as was found: halves the distance to what is proven impossible."""
    low = minimum_bytes(tape)
    best = fit(tape, low, time_limit=time_limit / 4, improve=0)
    for _ in range(6):
        if best.placement.arena - low <= max(64, best.placement.arena // 100):
            break
        budget = (low + best.placement.arena) // 2
        found = fit(tape, budget, time_limit=time_limit / 8, improve=0)
        if found.placement.arena < best.placement.arena:
            best = found
        low = low if found.fits else budget
    return best
