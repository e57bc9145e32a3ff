"""Beam search over levels: the exact dynamic program as long as no level is wider than the beam."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable
from typing import Protocol, TypeVar


class State(Protocol):
    """What is known of an order that was begun."""

    @property
    def live(self) -> int:
        """Bytes that are alive; of two states with one key the less."""

    @property
    def done(self) -> int:
        """The finished steps as bits."""

    @property
    def key(self) -> Hashable:
        """States with one key have the same future."""


S = TypeVar("S", bound=State)


def beam_search(start: S, steps: Callable[[S], Iterable[S]], depth: int, width: int) -> tuple[S | None, bool]:
    """A state `depth` levels further, and whether the search saw every one: no level was wider than the beam.

    Args:
        start: the first state.
        steps: what may follow a state.
        width: how many states to keep at every level, those with the least bytes.
    """
    beam, complete = [start], True
    for _ in range(depth):
        level: dict[Hashable, S] = {}
        for state in beam:
            for after in steps(state):
                known = level.get(after.key)
                if known is None or after.live < known.live:
                    level[after.key] = after
        complete = complete and len(level) <= width
        beam = heapq.nsmallest(width, level.values(), key=lambda state: (state.live, state.done))
        if not beam:
            return None, complete
    return beam[0], complete


def unwind(trail: object) -> list[int]:
    """The steps of a trail of (step, trail before), first one first."""
    order: list[int] = []
    while isinstance(trail, tuple):
        step, trail = trail
        order.append(step)
    return order[::-1]
