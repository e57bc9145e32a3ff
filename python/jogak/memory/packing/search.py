"""Offsets for the smallest arena, or for one that fits a capacity: greedy orders first, then an exact tree search.

The portfolio of orders is omnimalloc's. One of ours is added: what lives at the fullest moments goes first, and what
ends too high goes earlier the next time (Joslin and Clements, "Squeaky Wheel" Optimization, JAIR 1999). Training steps
that the portfolio leaves a gap in (ResNet-50: 0.3 % on one device, 0.5 % on four) need none with it.
The tree search is omnimalloc's, too. It places buffers in a canonical order, section by section, and cuts dominated
branches, as MiniMalloc does (Moffitt, "MiniMalloc: A Lightweight Memory Allocator for Hardware-Accelerated Machine
Learning", ASPLOS 2023). Which order finds a packing is a matter of luck with heavy tails, so it is restarted with
several orders and growing time slices, and it is told which height is enough.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from omnimalloc import Allocation
from omnimalloc.allocators import GreedyAllocator, OmniAllocator, SupermallocAllocator
from omnimalloc.allocators.supermalloc import Heuristic, SortKey

from jogak.errors import JogakError
from jogak.memory.packing.buffers import Buffer, live_peak
from jogak.memory.packing.validate import validate_packing

_ORDERS: tuple[Heuristic, ...] = (
    (SortKey.SECTION_TOTAL, SortKey.DURATION, SortKey.AREA),
    (SortKey.DURATION, SortKey.AREA, SortKey.SECTION_TOTAL),
    (SortKey.SECTION_TOTAL, SortKey.AREA, SortKey.DURATION),
)
_FIRST_SLICE = 0.1
_ROOF = "roof"

Placement = dict[int | str, int]


@dataclass(frozen=True)
class PackResult:
    """Where every buffer lies.

    Attributes:
        height: bytes of the arena that the offsets need; above the capacity when nothing that fits was found.
        lower_bound: no arena is smaller.
        optimal: whether `height` is proven to be the smallest.
        seconds: wall time of the search.
        offsets: first byte of each buffer.
    """

    height: int
    lower_bound: int
    optimal: bool
    seconds: float
    offsets: dict[str, int]


def pack(
    buffers: Sequence[Buffer], capacity: int | None = None, time_limit: float = 10.0, alignment: int = 1
) -> PackResult:
    """Place buffers in one arena.

    Args:
        buffers: what to place.
        capacity: bytes that are enough: the search stops as soon as it fits. None looks for the smallest arena.
        time_limit: seconds of this process's CPU after which the best packing so far is returned: a busy machine finds
            the same one, later.
        alignment: every offset is a multiple of this many bytes; sizes are rounded up to it.

    Raises:
        JogakError: two buffers have the same id, or a size or lifetime makes no sense.
    """
    start = time.monotonic()
    _check(buffers, alignment)
    rounded = [Buffer(b.id, b.lower, b.upper, -(-b.size // alignment) * alignment) for b in buffers]
    unit = gcd(*(buffer.size for buffer in rounded)) or alignment
    bound = live_peak(rounded)
    target = bound if capacity is None else max(bound, capacity // unit * unit)
    end = max((buffer.upper for buffer in rounded), default=0)
    placed, proven = _search(_allocations(rounded, unit), end, bound // unit, target // unit, time_limit)
    offsets = {buffer.id: placed.get(index, 0) * unit for index, buffer in enumerate(rounded)}
    height = max((offsets[buffer.id] + buffer.size for buffer in rounded), default=0)
    validate_packing(rounded, offsets, height)
    return PackResult(height, bound, proven or height == bound, time.monotonic() - start, offsets)


def _check(buffers: Sequence[Buffer], alignment: int) -> None:
    if alignment < 1:
        raise JogakError(f"cannot align to {alignment} bytes", hint="the alignment is a positive number of bytes")
    seen: set[str] = set()
    for buffer in buffers:
        where = f"buffer {buffer.id}"
        if buffer.id in seen:
            raise JogakError("two buffers have the same id", where=where)
        if buffer.lower >= buffer.upper:
            raise JogakError(f"lifetime [{buffer.lower}, {buffer.upper}) is empty", where=where)
        if buffer.size < 0:
            raise JogakError(f"size {buffer.size} is negative", where=where)
        seen.add(buffer.id)


def _allocations(buffers: Sequence[Buffer], unit: int) -> tuple[Allocation, ...]:
    return tuple(
        Allocation(id=index, size=buffer.size // unit, start=buffer.lower, end=buffer.upper)
        for index, buffer in enumerate(buffers)
        if buffer.size > 0
    )


def _search(
    allocations: tuple[Allocation, ...], end: int, bound: int, target: int, time_limit: float
) -> tuple[Placement, bool]:
    """The best packing found within a time limit, and whether a smaller one is proven not to exist; in units."""
    if not allocations:
        return {}, True
    deadline = time.process_time() + time_limit
    best = _placement(OmniAllocator().allocate(allocations))
    height = _height(allocations, best)
    if height > target:
        other = _fullest_first(allocations, end, bound, target, min(deadline, time.process_time() + _FIRST_SLICE))
        best = min(best, other, key=lambda placed: _height(allocations, placed))
        height = _height(allocations, best)
    for order, goal, seconds in _restarts(bound, target, deadline):
        if height <= target:
            break
        result = _solver(order, seconds).solve(_under_roof(allocations, end, goal))
        found = _placement(result.allocations)
        if _height(allocations, found) < height:
            best, height = found, _height(allocations, found)
        if result.proved_optimal and goal == bound:
            return best, True
    return best, height == bound


def _fullest_first(allocations: Sequence[Allocation], end: int, bound: int, target: int, deadline: float) -> Placement:
    """Place first what is hard to place: by the most bytes alive at a moment of its life, then by size.

    What ends above the bound goes earlier in the next round, half of its way to the front and all of it in turn.
    """
    alive = np.zeros(end + 1, np.int64)
    for each in allocations:
        alive[each.start] += each.size
        alive[each.end] -= each.size
    alive = np.cumsum(alive)
    order = sorted(allocations, key=lambda each: (-int(alive[each.start : each.end].max()), -each.size))
    best = placed = _placement(GreedyAllocator().allocate(tuple(order)))
    forward = 0.0
    while _height(allocations, best) > target and time.process_time() < deadline:
        forward = 0.5 - forward
        late = {each.id for each in order if placed[each.id] + each.size > bound}
        places = {each.id: number * forward - 1 if each.id in late else number for number, each in enumerate(order)}
        order.sort(key=lambda each: places[each.id])
        placed = _placement(GreedyAllocator().allocate(tuple(order)))
        best = min(best, placed, key=lambda each: _height(allocations, each))
    return best


def _restarts(bound: int, target: int, deadline: float) -> Iterator[tuple[Heuristic, int, float]]:
    """Orders, the height to look for and seconds: once for the bound, then for what is enough."""
    seconds, goal = _FIRST_SLICE, bound
    while True:
        for order in _ORDERS:
            left = deadline - time.process_time()
            if left <= 0:
                return
            yield order, goal, min(seconds, left)
        seconds, goal = 2 * seconds, target


def _solver(order: Heuristic, seconds: float) -> SupermallocAllocator:
    # With two threads the solver tries "just below the best" and "at the bound" side by side; with one only the first.
    return SupermallocAllocator(timeout=seconds, heuristics=(order,), num_threads=2)


def _under_roof(allocations: tuple[Allocation, ...], end: int, goal: int) -> tuple[Allocation, ...]:
    """Add a buffer of the wanted height that lives alone at the end: the solver's own bound then is that height.

    It makes "fits the goal" the solver's definition of success, where it would otherwise approach it in small steps.
    """
    return (*allocations, Allocation(id=_ROOF, size=goal, start=end, end=end + 1))


def _placement(allocations: Sequence[Allocation]) -> Placement:
    return {allocation.id: allocation.offset for allocation in allocations if allocation.offset is not None}


def _height(allocations: Sequence[Allocation], offsets: Placement) -> int:
    return max(offsets[allocation.id] + allocation.size for allocation in allocations)
