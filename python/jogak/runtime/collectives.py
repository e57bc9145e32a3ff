"""What every collective computes, on the tensors of one group.

The order of a group is that of its axes, the last one fastest, as the `shard` dialect has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise

import torch
from torch import Tensor

from jogak.errors import JogakError
from jogak.runtime.program import Collective
from jogak.sharding.mesh import Mesh

_REDUCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": torch.add, "product": torch.mul, "max": torch.maximum, "min": torch.minimum,
    "bitwise_and": torch.bitwise_and, "bitwise_or": torch.bitwise_or, "bitwise_xor": torch.bitwise_xor,
}  # fmt: skip


def combine(kind: str, tensors: Sequence[Tensor]) -> Tensor:
    """Reduce tensors of one shape, in order.

    Raises:
        JogakError: the reduction is not known.
    """
    if kind == "average":
        return combine("sum", tensors) / len(tensors)
    function = _REDUCTIONS.get(kind)
    if function is None:
        raise JogakError(f"unknown reduction {kind!r}", hint=f"known: {', '.join(_REDUCTIONS)}, average")
    return reduce(function, tensors)


def slice_of(tensor: Tensor, dim: int, index: int, parts: int) -> Tensor:
    """Part `index` of a tensor that is split evenly along `dim`."""
    size = tensor.shape[dim] // parts
    return tensor.narrow(dim, index * size, size)


def run(
    collective: Collective, mesh: Mesh, group: Sequence[int], tensors: Sequence[Tensor], dtype: torch.dtype
) -> list[Tensor]:
    """The results of all devices of a group.

    Args:
        collective: what they do.
        mesh: the mesh.
        group: the devices, in group order.
        tensors: what each of them brings.
        dtype: how results are held; reductions accumulate in it.
    """
    return _RUN[collective.kind](collective, mesh, group, [tensor.to(dtype) for tensor in tensors])


Run = Callable[[Collective, Mesh, Sequence[int], Sequence[Tensor]], list[Tensor]]


def _all_reduce(collective: Collective, _: Mesh, group: Sequence[int], tensors: Sequence[Tensor]) -> list[Tensor]:
    return [combine(collective.reduction, tensors)] * len(group)


def _all_gather(collective: Collective, _: Mesh, group: Sequence[int], tensors: Sequence[Tensor]) -> list[Tensor]:
    return [torch.cat(list(tensors), collective.dim)] * len(group)


def _reduce_scatter(collective: Collective, _: Mesh, group: Sequence[int], tensors: Sequence[Tensor]) -> list[Tensor]:
    total = combine(collective.reduction, tensors)
    return [slice_of(total, collective.dim, index, len(group)) for index in range(len(group))]


def _all_to_all(collective: Collective, _: Mesh, group: Sequence[int], tensors: Sequence[Tensor]) -> list[Tensor]:
    parts = len(group)
    return [
        torch.cat([slice_of(tensor, collective.dim, index, parts) for tensor in tensors], collective.concat_dim)
        for index in range(parts)
    ]


def _permute(collective: Collective, _: Mesh, __: Sequence[int], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies: what a device sends it may write over before the other has stored it."""
    return [tensors[source].clone() for source in collective.sources]


def root(collective: Collective, mesh: Mesh) -> int:
    """The position in the group that a multi-index names."""
    position = 0
    for axis, index in zip(collective.axes, collective.peer or (), strict=True):
        position = position * mesh.sizes[axis] + index
    return position


def _broadcast(collective: Collective, mesh: Mesh, group: Sequence[int], tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensors[root(collective, mesh)]] * len(group)


def _gather(collective: Collective, mesh: Mesh, group: Sequence[int], tensors: Sequence[Tensor]) -> list[Tensor]:
    return _only_root(collective, mesh, len(group), torch.cat(list(tensors), collective.dim))


def _reduce(collective: Collective, mesh: Mesh, group: Sequence[int], tensors: Sequence[Tensor]) -> list[Tensor]:
    return _only_root(collective, mesh, len(group), combine(collective.reduction, tensors))


def _only_root(collective: Collective, mesh: Mesh, devices: int, value: Tensor) -> list[Tensor]:
    chosen = root(collective, mesh)
    return [value if position == chosen else undefined(value) for position in range(devices)]


def undefined(like: Tensor) -> Tensor:
    """A tensor whose values the dialect leaves undefined: NaN or the largest integer, so that reading it shows."""
    if like.dtype == torch.bool:
        return torch.ones_like(like)
    poison = torch.nan if like.dtype.is_floating_point else torch.iinfo(like.dtype).max
    return torch.full_like(like, poison)


def _scatter(collective: Collective, mesh: Mesh, group: Sequence[int], tensors: Sequence[Tensor]) -> list[Tensor]:
    source = tensors[root(collective, mesh)]
    return [slice_of(source, collective.dim, index, len(group)) for index in range(len(group))]


def _shift(collective: Collective, mesh: Mesh, group: Sequence[int], tensors: Sequence[Tensor]) -> list[Tensor]:
    """A tensor moves `offset` places up the axis (the dialect's example, half round a ring, fits both directions)."""
    axis, offset, rotate = collective.shift or ("", 0, False)
    size = mesh.sizes[axis]
    results = []
    for device, own in zip(group, tensors, strict=True):
        place = mesh.coordinates(device)
        source = place[axis] - offset
        if rotate or 0 <= source < size:
            results.append(tensors[group.index(mesh.device({**place, axis: source % size}))])
        else:
            results.append(undefined(own))
    return results


def _update_halo(collective: Collective, mesh: Mesh, group: Sequence[int], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Exchange margins dimension by dimension, the last first; later exchanges carry the corners of earlier ones.

    At the ends of an axis, where there is no neighbor, the margin keeps its value.
    """
    current = dict(zip(group, (tensor.clone() for tensor in tensors), strict=True))
    for dim in range(len(collective.halo) - 1, -1, -1):
        axes, low, high = collective.halo[dim]
        views = {device: _core(tensor, collective, dim) for device, tensor in current.items()}
        for members in sorted({mesh.group(device, axes) for device in group}) if axes else ():
            for before, after in pairwise(members):
                _exchange(views[before], views[after], dim, low, high)
    return [current[device] for device in group]


def _core(tensor: Tensor, collective: Collective, dims: int) -> Tensor:
    """A view without the margins of the first `dims` dimensions."""
    for dim, (_, low, high) in enumerate(collective.halo[:dims]):
        tensor = tensor.narrow(dim, low, tensor.shape[dim] - low - high)
    return tensor


def _exchange(before: Tensor, after: Tensor, dim: int, low: int, high: int) -> None:
    """Fill the high margin of one device and the low margin of the next from each other's own elements."""
    size = before.shape[dim]
    before.narrow(dim, size - high, high).copy_(after.narrow(dim, low, high))
    after.narrow(dim, 0, low).copy_(before.narrow(dim, size - high - low, low))


_RUN: dict[str, Run] = {
    "all_reduce": _all_reduce,
    "all_gather": _all_gather,
    "reduce_scatter": _reduce_scatter,
    "all_to_all": _all_to_all,
    "permute": _permute,
    "broadcast": _broadcast,
    "gather": _gather,
    "reduce": _reduce,
    "scatter": _scatter,
    "shift": _shift,
    "update_halo": _update_halo,
}


def local(collective: Collective, mesh: Mesh, device: int, operands: Sequence[Tensor]) -> tuple[Tensor, ...] | None:
    """The results of an op that needs no communication; None when it needs some."""
    if collective.kind == "all_slice":
        group = mesh.group(device, collective.axes)
        return (slice_of(operands[0], collective.dim, group.index(device), len(group)),)
    if collective.kind == "process_multi_index":
        place = mesh.coordinates(device)
        return tuple(torch.tensor(place[axis]) for axis in collective.axes)
    if collective.kind == "process_linear_index":
        return (torch.tensor(device),)
    if collective.kind == "grid_shape":
        return tuple(torch.tensor(mesh.sizes[axis]) for axis in collective.axes)
    if collective.kind == "neighbors_linear_indices":
        return _neighbors(collective, mesh, [int(operand) for operand in operands])
    return None


def _neighbors(collective: Collective, mesh: Mesh, place: Sequence[int]) -> tuple[Tensor, ...]:
    device = mesh.device(dict(zip(mesh.axes, place, strict=True)))
    group = mesh.group(device, collective.axes)
    position = group.index(device)
    before = group[position - 1] if position else -1
    after = group[position + 1] if position + 1 < len(group) else -1
    return torch.tensor(before), torch.tensor(after)
