"""Windows: dimensions that an op reads at `iteration * stride + offset` and some elements behind it.

So a convolution reads its image, a slice its source, a pad what it pads. When the iterations are split, each device
reads a range that is its own piece but for a margin, which it gets from its neighbours (a halo exchange).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from jogak.sharding.padding import local_size


@dataclass(frozen=True)
class Window:
    """How a factor reads one dimension of one operand.

    Attributes:
        operand: number of the operand in the rule.
        dim: the dimension of the operand.
        extent: its size.
        iterations: size of the factor.
        stride: elements from one iteration to the next.
        offset: the first element of iteration 0; it may be negative or behind the end, where nothing is read.
        reach: elements of one iteration, from the first to the last.
        whole: whether every device has the whole dimension, since it is short.
    """

    operand: int
    dim: int
    extent: int
    iterations: int
    stride: int = 1
    offset: int = 0
    reach: int = 1
    whole: bool = False

    def fits(self, parts: int) -> bool:
        """Whether so many devices can read it with no more than their neighbours' pieces."""
        return parts == 1 or exchange(self, parts) is not None


@dataclass(frozen=True)
class Exchange:
    """How a device makes what it reads: its piece between two margins, of which it takes `width` elements.

    Attributes:
        low: elements that it gets from the device before.
        high: elements that it gets from the device behind.
        before: size of the margin in front, at least `low`; the rest is not read.
        behind: size of the margin behind, at least `high`.
        start: where device 0 begins to read in the piece with its margins.
        step: how much further each next device begins.
        width: how many elements each device reads.
    """

    low: int
    high: int
    before: int
    behind: int
    start: int
    step: int
    width: int


@lru_cache(maxsize=65536)
def exchange(window: Window, parts: int) -> Exchange | None:
    """The exchange for so many devices; None where a device needs more than its neighbours have."""
    part = local_size(window.iterations, parts)
    width = window.stride * (part - 1) + window.reach
    distance = window.stride * part
    if window.whole:
        return Exchange(0, 0, width, width, window.offset + width, distance, width)
    if window.extent < parts:
        return None
    piece = local_size(window.extent, parts)
    low = high = before = behind = 0
    for device in range(-(-window.iterations // part)):
        own, begin = piece * device, distance * device + window.offset
        count = min(part, window.iterations - part * device)
        first, last = max(begin, 0), min(begin + window.stride * (count - 1) + window.reach, window.extent)
        if first < last:
            low, high = max(low, own - first), max(high, last - own - piece)
        before, behind = max(before, own - begin), max(behind, begin + width - own - piece)
    if max(low, high) > piece:
        return None
    before = max(before, low)
    return Exchange(low, high, before, max(behind, high), window.offset + before, distance - piece, width)
