"""Ways that lead through sub-axes: where axes of different sizes change places, a part of one fits the other.

`[x, y]` on 4×2 becomes `[y, x]` by an all-to-all of `x:(2)2` to `[x:(1)2, y x:(2)2]` and a permute, as in Shardy's
reshards (openxla/shardy). Such a way is a permute and what makes pieces of the same number: slices, an all-to-all or
a gather in front of it, or gathers behind it. It is listed as one step between shardings by the mesh's own axes, so
that a planner does not search the far larger space of all sub-axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import permutations, product
from math import gcd

from jogak.sharding.mesh import Mesh, Part
from jogak.sharding.padding import nests
from jogak.sharding.permute import MOST_AXES, Axes, exchange_of, filled
from jogak.sharding.sharding import Sharding
from jogak.sharding.steps import Step, StepKind, changed, divides, exchanges

Way = tuple[Step, ...]
Counts = tuple[int, ...]
"""Into how many pieces each dimension is cut."""
Ends = Mapping[Counts, Sequence[Sharding]]
"""Shardings by the axes of the mesh, by what they cut."""


@lru_cache(maxsize=1024)
def matched(mesh: Mesh) -> Mesh:
    """The mesh with axes taken apart so that a part of one is as large as another, where sizes share a factor."""
    fine = mesh
    for axis, size in mesh.sizes.items():
        part = Part.parse(axis)
        for other in dict.fromkeys(mesh.shape):
            common = gcd(size, other)
            if part is not None and 1 < common < size and fine.can_cut(part.axis, part.before * common):
                fine = fine.cut({part.axis: [part.before * common]})
    return fine


@lru_cache(maxsize=65536)
def shortcuts(here: Sharding, usable: Axes, shape: tuple[int, ...], mesh: Mesh) -> tuple[Way, ...]:
    """Every way through sub-axes that begins at `here`; it ends by axes of the mesh.

    Args:
        usable: the axes by which the value may be split at the end; those on which it is partial stay out of it.
    """
    partial = {axis for axis, _ in here.partial}
    free = tuple(axis for axis in usable if axis not in partial and mesh.sizes[axis] > 1)
    if matched(mesh) == mesh or not 1 < len(free) <= MOST_AXES:
        return ()
    ends = {
        counts: [Sharding(dims, here.partial) for dims in found]
        for counts, found in _endings(here.rank, free, mesh).items()
        if all(pieces in (1, min(size, pieces)) for size, pieces in zip(shape, counts, strict=True))
    }
    return (
        *_sliced(here, ends, free, shape, mesh),
        *_moved(here, ends, shape, mesh),
        *_gathered(here, ends, free, shape, mesh),
    )


@lru_cache(maxsize=1024)
def _endings(rank: int, axes: Axes, mesh: Mesh) -> Mapping[Counts, tuple[tuple[Axes, ...], ...]]:
    """All that some of the axes can do to a value, by the numbers of pieces that they make of each dimension."""
    found: dict[Counts, list[tuple[Axes, ...]]] = {}
    for places in product([None, *range(rank)], repeat=len(axes)):
        members = [[axis for axis, at in zip(axes, places, strict=True) if at == dim] for dim in range(rank)]
        counts = tuple(mesh.size(split) for split in members)
        found.setdefault(counts, []).extend(product(*(permutations(split) for split in members)))
    return {counts: tuple(dims) for counts, dims in found.items()}


def _sliced(here: Sharding, ends: Ends, free: Axes, shape: tuple[int, ...], mesh: Mesh) -> Iterator[Way]:
    """Slices, and a permute: every piece at the end is a part of one that some device holds."""
    fine = matched(mesh)
    start = here.on(fine)
    absent = tuple(part for part in fine.expand(free) if part not in {*start.axes()})
    for counts, found in ends.items():
        cuts = [
            cut
            for cut in _cuts(_counts(start, fine), counts, absent, fine)
            if not _is_whole(_extended(start, cut), mesh)
            and all(divides(start, dim, axes, shape, fine) for dim, axes in enumerate(cut) if axes)
        ]
        for after in found if cuts else ():
            made = [(_permute(_extended(start, cut), after, mesh), cut) for cut in cuts]
            permute, cut = min(made, key=lambda entry: mesh.size(entry[0].axes))
            yield (*_slices(start, cut, mesh), permute)


def _moved(here: Sharding, ends: Ends, shape: tuple[int, ...], mesh: Mesh) -> Iterator[Way]:
    """An all-to-all or a gather of a part of an axis, and a permute."""
    fine = matched(mesh)
    for step in exchanges(here.on(fine), shape, fine):
        if not _is_whole(step.after, mesh):
            for after in ends.get(_counts(step.after, fine), ()):
                yield replace(step, axes=joined(step.axes, mesh)), _permute(step.after, after, mesh)


def _gathered(here: Sharding, ends: Ends, free: Axes, shape: tuple[int, ...], mesh: Mesh) -> Iterator[Way]:
    """A permute, and gathers: every piece at the end consists of some that devices hold."""
    fine = matched(mesh)
    start = here.on(fine)
    held = _counts(start, fine)
    for counts, found in ends.items():
        more = [one // other for one, other in zip(held, counts, strict=True)]
        if not all(nests(*each) for each in zip(shape, counts, more, strict=True) if each[2] > 1):
            continue
        for after in found:
            end = after.on(fine)
            absent = tuple(part for part in fine.expand(free) if part not in {*end.axes()})
            behind = [(_extended(end, cut), cut) for cut in _cuts(counts, held, absent, fine)]
            made = [(_permute(start, there, mesh), cut) for there, cut in behind if not _is_whole(there, mesh)]
            if made:
                permute, cut = min(made, key=lambda entry: mesh.size(entry[0].axes))
                gathers = list(_gathers(permute.after, end, cut, mesh))
                yield (permute, *gathers[:-1], replace(gathers[-1], after=after))


def _gathers(start: Sharding, end: Sharding, cut: tuple[Axes, ...], mesh: Mesh) -> Iterator[Step]:
    """The gathers one after the other, those that bring the least first."""
    for dim, axes in sorted(enumerate(cut), key=lambda each: mesh.size(each[1])):
        if axes:
            start = changed(start, {dim: end.dims[dim]})
            yield Step(StepKind.ALL_GATHER, joined(axes, mesh), start, dim)


def _counts(sharding: Sharding, mesh: Mesh) -> Counts:
    return tuple(mesh.size(axes) for axes in sharding.dims)


def _cuts(before: Counts, after: Counts, absent: Axes, fine: Mesh) -> Iterator[tuple[Axes, ...]]:
    """Every way to get from so many pieces of each dimension to so many by slices; the axes by dimension."""
    if not before:
        yield ()
        return
    if after[0] % before[0]:
        return
    for axes in filled(after[0] // before[0], absent, fine):
        left = tuple(axis for axis in absent if axis not in axes)
        yield from ((axes, *rest) for rest in _cuts(before[1:], after[1:], left, fine))


def _extended(start: Sharding, cut: tuple[Axes, ...]) -> Sharding:
    return replace(start, dims=tuple((*axes, *more) for axes, more in zip(start.dims, cut, strict=True)))


def _slices(start: Sharding, cut: tuple[Axes, ...], mesh: Mesh) -> Iterator[Step]:
    """The slices one after the other, those that leave the least first."""
    for dim, axes in sorted(enumerate(cut), key=lambda each: -mesh.size(each[1])):
        if axes:
            start = changed(start, {dim: (*start.dims[dim], *axes)})
            yield Step(StepKind.ALL_SLICE, joined(axes, mesh), start, dim)


def _permute(before: Sharding, after: Sharding, mesh: Mesh) -> Step:
    """The permute between two shardings, of which the second may be by the axes of the mesh."""
    fine = matched(mesh)
    axes, exchange = exchange_of(before, after.on(fine), fine)
    return Step(StepKind.PERMUTE, joined(axes, mesh), after, exchange=exchange)


def _is_whole(sharding: Sharding, mesh: Mesh) -> bool:
    """Whether axes are only used as they are in the mesh."""
    return all(axis in mesh.sizes for axes in sharding.dims for axis in joined(axes, mesh))


def joined(axes: Axes, mesh: Mesh) -> Axes:
    """Axes of the matched mesh, with all parts of an axis of `mesh` side by side in order as this axis."""
    owners = _owners(mesh)
    left, found = axes, []
    while left:
        owner, parts = owners[left[0]]
        if left[: len(parts)] == parts:
            found.append(owner)
            left = left[len(parts) :]
        else:
            found.append(left[0])
            left = left[1:]
    return tuple(found)


@lru_cache(maxsize=1024)
def _owners(mesh: Mesh) -> Mapping[str, tuple[str, Axes]]:
    """For each axis of the matched mesh the axis of `mesh` that it belongs to, with all parts of this axis."""
    fine = matched(mesh)
    return {part: (axis, fine.expand([axis])) for axis in mesh.axes for part in fine.expand([axis])}
