"""Views that get memory of their own, because they keep more alive than the plan of the memory has.

A slice is a view in PyTorch, and holds all of what it is cut from: one matrix out of a bucket of gathered weights that
the backward pass reads keeps the whole bucket. The plan counts such a slice as a copy. Where a program would
take more than the plan, it becomes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jogak.runtime.liveness import Unit
from jogak.targets.distributed.schedule import Alive, Memory

WORTH = 1 << 14
"""Bytes that views keep for nothing before they are copied: a copy is a call, too."""


def copied(steps: Sequence[Unit], results: Sequence[int], memory: Memory) -> frozenset[int]:
    """The values to copy, so that a program takes no more than its plan; none where it has no plan.

    Args:
        steps: in the order in which the device takes them.
        results: the values that the program returns.
        memory: what steps take.
    """
    found: set[int] = set()
    while memory.planned is not None:
        most, chosen = _wasted(steps, results, memory)
        chosen = [number for number in chosen if number in memory.shared]
        if most <= memory.planned or not chosen:
            break
        found.update(chosen)
        new = {number: memory.sizes[number] for number in chosen}
        memory = replace(memory, shared=memory.shared - set(chosen), allocated={**memory.allocated, **new})
    return frozenset(found)


def _wasted(steps: Sequence[Unit], results: Sequence[int], memory: Memory) -> tuple[int, list[int]]:
    """The most bytes that are alive at once, and the views that keep most for nothing then."""
    alive, most, at = Alive(memory, steps, results), -1, 0
    for number, step in enumerate(steps):
        now = alive.live + memory.need(step)
        if now > most:
            most, at = now, number
        alive.take(step)
    alive = Alive(memory, steps, results)
    for step in steps[:at]:
        alive.take(step)
    views = alive.views()
    wasted = {
        home: memory.sizes[home] - sum(memory.sizes[number] for number in numbers) for home, numbers in views.items()
    }
    worst = max(wasted, key=lambda home: wasted[home], default=None)
    return most, views[worst] if worst is not None and wasted[worst] >= WORTH else []
