"""Which steps are needed, and after which step a value is no longer needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jogak.runtime.program import CollectiveStep, Step


def plan(steps: Sequence[Step], results: Sequence[int]) -> tuple[Step, ...]:
    """The steps that results or other devices depend on, each with the values that die with it.

    Args:
        steps: all steps in order.
        results: the values that the program returns.
    """
    live = set(results)
    kept: list[Step] = []
    for step in reversed(steps):
        if not isinstance(step, CollectiveStep) and live.isdisjoint(step.results):
            continue
        touched = {*step.operands, *step.results}
        kept.append(replace(step, frees=tuple(sorted(touched - live))))
        live |= touched
    return tuple(reversed(kept))
