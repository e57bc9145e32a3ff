"""The check of a packing, independent of every packer: no two buffers overlap in time and in space at once."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from itertools import pairwise

from jogak.errors import JogakError
from jogak.memory.packing.buffers import Buffer


def find_overlap(buffers: Sequence[Buffer], offsets: Mapping[str, int]) -> tuple[Buffer, Buffer] | None:
    """Two buffers that share bytes while both live, or None.

    Sweeps over time and keeps the live buffers sorted by offset; as long as there was no overlap before, a new buffer
    can only overlap its two neighbours.
    """
    events = [(buffer.upper, 0, index) for index, buffer in enumerate(buffers) if buffer.size > 0]
    events += [(buffer.lower, 1, index) for index, buffer in enumerate(buffers) if buffer.size > 0]
    live: list[tuple[int, int]] = []
    for _, begins, index in sorted(events):
        entry = (offsets[buffers[index].id], index)
        if not begins:
            del live[bisect_left(live, entry)]
            continue
        insort(live, entry)
        place = bisect_left(live, entry)
        for (low, first), (high, second) in pairwise(live[max(place - 1, 0) : place + 2]):
            if low + buffers[first].size > high:
                return buffers[first], buffers[second]
    return None


def validate_packing(buffers: Sequence[Buffer], offsets: Mapping[str, int], height: int) -> None:
    """Check that a packing places every buffer inside [0, height) without overlap.

    Raises:
        JogakError: a buffer has no offset, leaves the arena, or overlaps another one.
    """
    for buffer in buffers:
        if buffer.id not in offsets:
            raise JogakError("buffer has no offset", where=f"buffer {buffer.id}")
        if offsets[buffer.id] < 0 or offsets[buffer.id] + buffer.size > height:
            span = f"[{offsets[buffer.id]}, {offsets[buffer.id] + buffer.size})"
            raise JogakError(f"buffer lies in {span}, outside the arena of {height} bytes", where=f"buffer {buffer.id}")
    overlap = find_overlap(buffers, offsets)
    if overlap:
        first, second = overlap
        raise JogakError(f"buffer overlaps buffer {second.id} in time and space", where=f"buffer {first.id}")
