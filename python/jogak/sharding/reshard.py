"""From one sharding to another by the cheapest sequence of collectives.

The states are shardings of the value, the steps are collectives on one group of axes, and the way is the cheapest one
(Dijkstra): an all-to-all where a dimension only changes, a reduce-scatter where a partial result is wanted split,
never a full gather where something cheaper leads there. Ways through sub-axes (`jogak.sharding.shortcuts`) count as
one step. A state from which not even the cheapest last step would be an improvement is left alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, combinations, count
from math import prod

from jogak.cost.model import CostModel
from jogak.errors import JogakError
from jogak.sharding.mesh import Mesh
from jogak.sharding.permute import exchange_of, permuted
from jogak.sharding.sharding import Sharding
from jogak.sharding.shortcuts import matched, shortcuts
from jogak.sharding.steps import Step, StepKind, collective_steps


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
    whole = prod(shape) * element_bytes
    used = _used(source, target, mesh)
    slice_ = cost.copy(whole / target.shards(mesh))
    exchange = min(
        _least(whole / target.shards(mesh), used, mesh, cost),  # the last step, or one before the last slice
        slice_ + _least(whole / mesh.size(used), used, mesh, cost),
    )
    while queue:
        seconds, _, here, steps = heapq.heappop(queue)
        if here == target:
            return Route(_merged(steps), seconds)
        least = slice_ if _is_sliced(here, target) else exchange
        if seconds > best[here] or seconds + least >= best.get(target, float("inf")):
            continue
        held = prod(here.local_shape(shape, mesh)) * element_bytes
        for way in _ways(here, target, shape, mesh):
            if way[0].kind is StepKind.PERMUTE and steps and steps[-1].kind is StepKind.PERMUTE:
                continue  # two permutes are one, which has been tried
            after, total = way[0].after, seconds + _seconds(way[0], held, mesh, cost)
            for step in way[1:]:
                total += _seconds(step, prod(after.local_shape(shape, mesh)) * element_bytes, mesh, cost)
                after = step.after
            if total < best.get(after, float("inf")):
                best[after] = total
                heapq.heappush(queue, (total, next(order), after, (*steps, *way)))
    raise JogakError(f"no way leads from {source} to {target} for a value of shape {list(shape)}")


def _used(source: Sharding, target: Sharding, mesh: Mesh) -> tuple[str, ...]:
    """The axes that a way can use, in their smallest parts."""
    used = {*source.axes(), *target.axes(), *(axis for axis, _ in source.partial)}
    return matched(mesh).expand(axis for axis in mesh.axes if axis in used)


def _is_sliced(here: Sharding, target: Sharding) -> bool:
    """Whether slices alone may lead to the target."""
    nested = all(wanted[: len(axes)] == axes for axes, wanted in zip(here.dims, target.dims, strict=True))
    return nested and here.partial == target.partial


@lru_cache(maxsize=65536)
def _least(held: float, axes: tuple[str, ...], mesh: Mesh, cost: CostModel) -> float:
    """The least that any collective over some of the axes takes which leaves so many bytes on a device."""
    found = [0.0] if not axes else []
    for group in chain.from_iterable(combinations(axes, length) for length in range(1, len(axes) + 1)):
        for kind in StepKind:
            if kind is not StepKind.ALL_SLICE:
                larger = held * mesh.size(group) if kind is StepKind.REDUCE_SCATTER else held
                found.append(cost.collective(kind, group, larger))
    return min(found)


def _seconds(step: Step, held: int, mesh: Mesh, cost: CostModel) -> float:
    """Of one step from where each device holds so many bytes."""
    devices = mesh.size(step.axes)
    match step.kind:
        case StepKind.ALL_SLICE:
            return cost.copy(held / devices)
        case StepKind.ALL_GATHER:
            return cost.collective(step.kind, step.axes, held * devices)
        case _:
            return cost.collective(step.kind, step.axes, held)


def _ways(here: Sharding, target: Sharding, shape: tuple[int, ...], mesh: Mesh) -> Iterator[tuple[Step, ...]]:
    """Every step that could be next, or the steps of a shortcut. Axes that the target does not use are never added."""
    for step in collective_steps(here, target, shape, mesh):
        yield (step,)
    for after in permuted(here, target, mesh):
        axes, exchange = exchange_of(here, after, mesh)
        yield (Step(StepKind.PERMUTE, axes, after, exchange=exchange),)
    used = {*here.axes(), *target.axes()}
    yield from shortcuts(here, tuple(axis for axis in mesh.axes if axis in used), shape, mesh)


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
