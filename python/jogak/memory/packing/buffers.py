"""A buffer with a lifetime, and the bound that lifetimes alone give."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Buffer:
    """Memory that one value needs while it lives.

    Attributes:
        id: its name; unique among the buffers of a problem.
        lower: the first time at which it lives.
        upper: the first time at which it no longer lives (half-open interval).
        size: bytes.
    """

    id: str
    lower: int
    upper: int
    size: int


def live_peak(buffers: Iterable[Buffer]) -> int:
    """The largest sum of sizes that live at one time, in bytes: no arena is smaller."""
    changes: dict[int, int] = {}
    for buffer in buffers:
        changes[buffer.lower] = changes.get(buffer.lower, 0) + buffer.size
        changes[buffer.upper] = changes.get(buffer.upper, 0) - buffer.size
    live = peak = 0
    for time in sorted(changes):
        live += changes[time]
        peak = max(peak, live)
    return peak
