"""The collectives that bring a value from one sharding to another: what each does, and which could be next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain, permutations

from jogak.sharding.mesh import Mesh
from jogak.sharding.padding import nests, splits
from jogak.sharding.permute import Renumbering
from jogak.sharding.sharding import Combiner, Sharding


class StepKind(StrEnum):
    """The names are those of the `shard` ops; a permute is a `send` and the `recv` of what it leaves."""

    ALL_SLICE = "all_slice"
    ALL_GATHER = "all_gather"
    ALL_TO_ALL = "all_to_all"
    ALL_REDUCE = "all_reduce"
    REDUCE_SCATTER = "reduce_scatter"
    PERMUTE = "permute"


@dataclass(frozen=True)
class Step:
    """One collective.

    Attributes:
        kind: which.
        axes: the mesh axes of its groups, major to minor.
        dim: the dimension that is sliced, gathered, scattered into, or (all-to-all) gathered.
        split: for an all-to-all the dimension that is split instead.
        combiner: how partial results combine.
        exchange: for a permute, the axes before and after it that number the same pieces (see `Renumbering`).
        after: the sharding that it leaves.
    """

    kind: StepKind
    axes: tuple[str, ...]
    after: Sharding
    dim: int = 0
    split: int = 0
    combiner: Combiner | None = None
    exchange: Renumbering = ()


def collective_steps(here: Sharding, target: Sharding, shape: tuple[int, ...], mesh: Mesh) -> Iterator[Step]:
    """Every step that could be next but permutes."""
    yield from _reductions(here, target, shape, mesh)
    yield from _slices(here, target, shape, mesh)
    yield from exchanges(here, shape, mesh)


def exchanges(here: Sharding, shape: tuple[int, ...], mesh: Mesh) -> Iterator[Step]:
    """Every gather, and every all-to-all, of the last axes of a dimension."""
    for dim, axes in enumerate(here.dims):
        for first in range(len(axes)):
            kept, moved = axes[:first], axes[first:]
            if not nests(shape[dim], mesh.size(kept), mesh.size(moved)):
                continue
            yield Step(StepKind.ALL_GATHER, moved, changed(here, {dim: kept}), dim)
            for other in range(here.rank):
                if other != dim and divides(here, other, moved, shape, mesh):
                    after = changed(here, {dim: kept, other: (*here.dims[other], *moved)})
                    yield Step(StepKind.ALL_TO_ALL, moved, after, dim, other)


def _slices(here: Sharding, target: Sharding, shape: tuple[int, ...], mesh: Mesh) -> Iterator[Step]:
    """Cuts by one axis, and by all that a dimension still needs: with padding, pieces of pieces may not be the same."""
    present = {*here.axes(), *(axis for axis, _ in here.partial)}
    cuts: list[tuple[int, tuple[str, ...]]]
    cuts = [(dim, (axis,)) for axis in target.axes() if axis not in present for dim in range(here.rank)]
    for dim, (axes, wanted) in enumerate(zip(here.dims, target.dims, strict=True)):
        missing = wanted[len(axes) :]
        if wanted[: len(axes)] == axes and len(missing) > 1 and not present & set(missing):
            cuts.append((dim, missing))
    for dim, axes in cuts:
        if divides(here, dim, axes, shape, mesh):
            yield Step(StepKind.ALL_SLICE, axes, changed(here, {dim: (*here.dims[dim], *axes)}), dim)


def _reductions(here: Sharding, target: Sharding, shape: tuple[int, ...], mesh: Mesh) -> Iterator[Step]:
    open_ = [(axis, combiner) for axis, combiner in here.partial if (axis, combiner) not in target.partial]
    for combiner in dict.fromkeys(combiner for _, combiner in open_):
        axes = tuple(axis for axis in mesh.axes if (axis, combiner) in open_)
        groups = dict.fromkeys([axes, *((axis,) for axis in axes)])
        for group in groups:
            left = tuple(entry for entry in here.partial if entry[0] not in group)
            yield Step(StepKind.ALL_REDUCE, group, replace(here, partial=left), combiner=combiner)
        used = set(target.axes())
        split = [axis for axis in axes if axis in used]
        for cut in chain.from_iterable(permutations(split, length) for length in range(1, len(split) + 1)):
            left = tuple(entry for entry in here.partial if entry[0] not in cut)
            for dim in range(here.rank):
                if divides(here, dim, cut, shape, mesh):
                    after = replace(changed(here, {dim: (*here.dims[dim], *cut)}), partial=left)
                    yield Step(StepKind.REDUCE_SCATTER, cut, after, dim, combiner=combiner)


def divides(here: Sharding, dim: int, axes: tuple[str, ...], shape: tuple[int, ...], mesh: Mesh) -> bool:
    """Whether the pieces of a dimension can be cut further."""
    present = here.dims[dim]
    return splits(shape[dim], (*present, *axes), mesh) and nests(shape[dim], mesh.size(present), mesh.size(axes))


def changed(here: Sharding, dims: dict[int, tuple[str, ...]]) -> Sharding:
    return Sharding(tuple(dims.get(number, axes) for number, axes in enumerate(here.dims)), here.partial)
