"""Permutes: pieces stay as they are and change places, where two shardings cut every dimension equally often.

The idea is that of `collective_permute` in Shardy's reshards (openxla/shardy), which exchanges pieces between pairs of
devices where others gather.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from jogak.sharding.mesh import Mesh
from jogak.sharding.sharding import Sharding

Axes = tuple[str, ...]
Renumbering = tuple[tuple[Axes, Axes], ...]
"""Pairs of axes: the piece that a device holds by its number along the first has the same number along the second
afterwards. Both halves have the same axes in all."""

MOST_AXES = 4
"""With more axes in play those that the target has at the same place stay there, as there are too many orders."""


def permuted(here: Sharding, target: Sharding, mesh: Mesh) -> Iterator[Sharding]:
    """Every sharding with as many pieces in each dimension, by axes of `here` and `target`.

    Axes on which the value is partial stay out of it.
    """
    partial = {axis for axis, _ in here.partial}
    present = {*here.axes()}
    able = present | ({*target.axes()} - partial)
    kept: list[Axes] = [()] * here.rank
    if len(able) > MOST_AXES:
        kept = [_common(axes, wanted) for axes, wanted in zip(here.dims, target.dims, strict=True)]
        able -= {axis for axes in kept for axis in axes}
        if len(able) > MOST_AXES:
            return
    free = tuple(axis for axis in mesh.axes if axis in able and mesh.sizes[axis] > 1)
    counts = tuple(mesh.size(axes[len(stay) :]) for axes, stay in zip(here.dims, kept, strict=True))
    for dims in _placed(counts, free, mesh):
        after = tuple((*stay, *axes) for stay, axes in zip(kept, dims, strict=True))
        if after != here.dims:
            yield Sharding(after, here.partial)


def _common(axes: Axes, wanted: Axes) -> Axes:
    """What two lists of axes begin with."""
    same = 0
    while same < min(len(axes), len(wanted)) and axes[same] == wanted[same]:
        same += 1
    return axes[:same]


@lru_cache(maxsize=65536)
def _placed(counts: tuple[int, ...], free: Axes, mesh: Mesh) -> tuple[tuple[Axes, ...], ...]:
    """Every way to cut dimensions into these numbers of pieces by some of the axes."""
    if not counts:
        return ((),)
    found = []
    for first in filled(counts[0], free, mesh):
        rest = tuple(axis for axis in free if axis not in first)
        found += [(first, *others) for others in _placed(counts[1:], rest, mesh)]
    return tuple(found)


def filled(count: int, free: Axes, mesh: Mesh) -> Iterator[Axes]:
    """Every list of axes that makes so many pieces."""
    if count == 1:
        yield ()
        return
    for axis in free:
        if count % mesh.sizes[axis] == 0:
            rest = tuple(other for other in free if other != axis)
            yield from ((axis, *others) for others in filled(count // mesh.sizes[axis], rest, mesh))


def exchange_of(before: Sharding, after: Sharding, mesh: Mesh) -> tuple[Axes, Renumbering]:
    """The axes whose groups exchange pieces, and which number which pieces before and after.

    Args:
        before: cuts every dimension into as many pieces as `after`.
    """
    pairs = [_changed(one, other) for one, other in zip(before.dims, after.dims, strict=True)]
    pairs = [pair for pair in pairs if pair != ((), ())]
    given = {axis for one, _ in pairs for axis in one}
    taken = {axis for _, other in pairs for axis in other}
    axes = tuple(axis for axis in mesh.axes if axis in given | taken)
    copies = tuple(axis for axis in axes if axis not in given), tuple(axis for axis in axes if axis not in taken)
    return axes, (*pairs, *([copies] if copies[0] else []))


def _changed(one: Axes, other: Axes) -> tuple[Axes, Axes]:
    """Two lists of axes without what they begin and end with alike."""
    first = len(_common(one, other))
    one, other = one[first:], other[first:]
    last = len(_common(one[::-1], other[::-1]))
    return one[: len(one) - last], other[: len(other) - last]
