"""An order of steps with a low peak, never higher than the program's own."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from jogak.memory.tape import Tape
from jogak.memory.trace import arrays_of, trace


def low_order(tape: Tape) -> list[int]:
    """The best of the program's order and list schedules that run what frees memory as soon as it can run.

    A schedule takes the first step in program order, unless a ready one shrinks what is alive; the schedules differ in
    what may be written over and in whether steps that only make something wait for their first reader.
    """
    arrays = arrays_of(tape)
    own = list(range(len(tape.steps)))
    lazy = _just_in_time(tape)
    found = [own, lazy, _eager(tape, own), _eager(tape, lazy)]
    return min(found, key=lambda order: (trace(arrays, order).peak, order != own))


def _makers(tape: Tape) -> dict[int, int]:
    return {value: number for number, step in enumerate(tape.steps) for value in step.writes}


def _just_in_time(tape: Tape) -> list[int]:
    """Depth first from the steps that make what nobody reads: everything is made right before its first reader."""
    makers = _makers(tape)
    read = {value for step in tape.steps for value in step.reads}
    done = [False] * len(tape.steps)
    order: list[int] = []
    for root in (k for k, step in enumerate(tape.steps) if not read.intersection(step.writes)):
        stack = [root]
        while stack:
            step = stack[-1]
            missing = [makers[v] for v in tape.steps[step].reads if v in makers and not done[makers[v]]]
            if missing:
                stack.append(max(missing))
                continue
            stack.pop()
            if not done[step]:
                done[step] = True
                order.append(step)
    return order


def _eager(tape: Tape, order: Sequence[int]) -> list[int]:
    """List scheduling along an order: a ready step that does not grow what is alive goes first."""
    makers = _makers(tape)
    rank = {step: place for place, step in enumerate(order)}
    readers: dict[int, set[int]] = {}
    for number, step in enumerate(tape.steps):
        for value in step.reads:
            readers.setdefault(value, set()).add(number)
    waiting = [len({makers[v] for v in step.reads if v in makers}) for step in tape.steps]
    followers: dict[int, set[int]] = {}
    for number, step in enumerate(tape.steps):
        for value in step.reads:
            if value in makers:
                followers.setdefault(makers[value], set()).add(number)
    ready = [(rank[k], k) for k, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    left = {value: len(users) for value, users in readers.items()}
    fresh = {k for _, k in ready}
    scheduled: list[int] = []
    done = [False] * len(tape.steps)
    while ready or fresh:
        shrinking = [k for k in fresh if not done[k] and _growth(tape, k, left) <= 0]
        if shrinking:
            chosen = min(shrinking, key=rank.__getitem__)
        else:
            while done[ready[0][1]]:
                heapq.heappop(ready)
            chosen = heapq.heappop(ready)[1]
        done[chosen] = True
        scheduled.append(chosen)
        fresh.discard(chosen)
        if len(scheduled) == len(tape.steps):
            break
        for value in tape.steps[chosen].reads:
            left[value] -= 1
            if left[value] == 1:
                fresh.update(k for k in readers[value] if not done[k] and waiting[k] == 0)
        for follower in followers.get(chosen, ()):
            waiting[follower] -= 1
            if waiting[follower] == 0:
                heapq.heappush(ready, (rank[follower], follower))
                fresh.add(follower)
        fresh = {k for k in fresh if not done[k]}
    return scheduled


def _growth(tape: Tape, number: int, left: dict[int, int]) -> int:
    """Bytes alive after a step beyond those before it."""
    step = tape.steps[number]
    dying = [v for v in step.reads if left[v] == 1 and v not in tape.results]
    freed = sum(tape.sizes[v] for v in dying if v >= tape.arguments)
    donated = sum(
        tape.sizes[value]
        for value, candidates in zip(step.writes, step.reuse or [()] * len(step.writes), strict=True)
        if any(c < tape.arguments and c in dying for c in candidates)
    )
    return sum(tape.sizes[value] for value in step.writes) - donated - freed
