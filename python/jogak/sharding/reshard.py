"""From one sharding to another by the cheapest sequence of collectives.

The states are shardings of the value, the steps are collectives on one group of axes, and the way is the cheapest one
(Dijkstra): an all-to-all where a dimension only changes, a reduce-scatter where a partial result is wanted split,
never a full gather where something cheaper leads there.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from itertools import chain, count, permutations
from math import prod

from jogak.cost.model import CostModel
from jogak.errors import JogakError
from jogak.sharding.mesh import Mesh
from jogak.sharding.padding import nests, splits
from jogak.sharding.permute import Renumbering, exchange_of, permuted
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


@dataclass(frozen=True)
class Route:
    """The steps from one sharding to another and their predicted time in seconds."""

    steps: tuple[Step, ...]
    seconds: float


@lru_cache(maxsize=65536)
def route(
    source: Sharding, target: Sharding, shape: tuple[int, ...], element_bytes: int, mesh: Mesh, cost: CostModel
) -> Route:
    """The cheapest way from `source` to `target`.

    Args:
        shape: global shape of the value.
        element_bytes: bytes of one element.
        cost: what the collectives take on `mesh`.

    Raises:
        JogakError: the target is partial where the source is not: a whole value cannot become a summand.
    """
    if set(target.partial) - set(source.partial):
        raise JogakError(f"a value that lies {source} cannot become {target}: it is not partial")
    order = count()
    best: dict[Sharding, float] = {source: 0.0}
    queue: list[tuple[float, int, Sharding, tuple[Step, ...]]] = [(0.0, next(order), source, ())]
    while queue:
        seconds, _, here, steps = heapq.heappop(queue)
        if here == target:
            return Route(_merged(steps), seconds)
        if seconds > best[here]:
            continue
        for step in next_steps(here, target, shape, mesh):
            if step.kind is StepKind.PERMUTE and steps and steps[-1].kind is StepKind.PERMUTE:
                continue  # two permutes are one, which has been tried
            total = seconds + _seconds(step, here, shape, element_bytes, mesh, cost)
            if total < best.get(step.after, float("inf")):
                best[step.after] = total
                heapq.heappush(queue, (total, next(order), step.after, (*steps, step)))
    raise JogakError(f"no way leads from {source} to {target} for a value of shape {list(shape)}")


def _seconds(
    step: Step, before: Sharding, shape: tuple[int, ...], element_bytes: int, mesh: Mesh, cost: CostModel
) -> float:
    devices = mesh.size(step.axes)
    held = prod(before.local_shape(shape, mesh)) * element_bytes
    match step.kind:
        case StepKind.ALL_SLICE:
            return cost.copy(held / devices)
        case StepKind.ALL_GATHER:
            return cost.collective(step.kind, step.axes, held * devices)
        case _:
            return cost.collective(step.kind, step.axes, held)


def next_steps(here: Sharding, target: Sharding, shape: tuple[int, ...], mesh: Mesh) -> Iterator[Step]:
    """Every step that could be next. Axes that the target does not use are never added."""
    yield from collective_steps(here, target, shape, mesh)
    for after in permuted(here, target, mesh):
        axes, exchange = exchange_of(here, after, mesh)
        yield Step(StepKind.PERMUTE, axes, after, exchange=exchange)


def collective_steps(here: Sharding, target: Sharding, shape: tuple[int, ...], mesh: Mesh) -> Iterator[Step]:
    """Every step that could be next but permutes."""
    yield from _reductions(here, target, shape, mesh)
    yield from _slices(here, target, shape, mesh)
    for dim, axes in enumerate(here.dims):
        for first in range(len(axes)):
            kept, moved = axes[:first], axes[first:]
            if not nests(shape[dim], mesh.size(kept), mesh.size(moved)):
                continue
            yield Step(StepKind.ALL_GATHER, moved, _changed(here, {dim: kept}), dim)
            for other in range(here.rank):
                if other != dim and _divides(here, other, moved, shape, mesh):
                    after = _changed(here, {dim: kept, other: (*here.dims[other], *moved)})
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
        if _divides(here, dim, axes, shape, mesh):
            yield Step(StepKind.ALL_SLICE, axes, _changed(here, {dim: (*here.dims[dim], *axes)}), dim)


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
                if _divides(here, dim, cut, shape, mesh):
                    after = replace(_changed(here, {dim: (*here.dims[dim], *cut)}), partial=left)
                    yield Step(StepKind.REDUCE_SCATTER, cut, after, dim, combiner=combiner)


def _divides(here: Sharding, dim: int, axes: tuple[str, ...], shape: tuple[int, ...], mesh: Mesh) -> bool:
    """Whether the pieces of a dimension can be cut further."""
    present = here.dims[dim]
    return splits(shape[dim], (*present, *axes), mesh) and nests(shape[dim], mesh.size(present), mesh.size(axes))


def _changed(here: Sharding, dims: dict[int, tuple[str, ...]]) -> Sharding:
    return replace(here, dims=tuple(dims.get(number, axes) for number, axes in enumerate(here.dims)))


def _merged(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Slices of one dimension behind each other are one slice by several axes."""
    merged: list[Step] = []
    for step in steps:
        last = merged[-1] if merged else None
        if last and step.kind is last.kind is StepKind.ALL_SLICE and step.dim == last.dim:
            merged[-1] = replace(step, axes=last.axes + step.axes)
        else:
            merged.append(step)
    return tuple(merged)
