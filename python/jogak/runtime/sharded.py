"""Cutting a value into what each device holds, and putting it together again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from jogak.runtime.collectives import combine
from jogak.runtime.errors import SimulationError
from jogak.sharding.mesh import Mesh
from jogak.sharding.sharding import Combiner, Sharding
from jogak.targets.distributed.rank.layout import logical, stored

REPLICAS = 1e-5
"""How far replicas may differ after one step, relative to the largest magnitude among them."""


def shard_value(tensor: Tensor, sharding: Sharding, mesh: Mesh) -> list[Tensor]:
    """What each device holds of a value.

    A partial sum (or product) holds the value on the first device of the axis and the identity on the others; for
    maxima, minima and bitwise combiners every device holds the value. Padding is filled with zeros.

    Raises:
        JogakError: a dimension has fewer elements than there are pieces.
    """
    shape = sharding.padded_shape(tuple(tensor.shape), mesh)
    if shape != tuple(tensor.shape):
        widths = [n - o for n, o in zip(shape, tensor.shape, strict=True)]
        tensor = pad(tensor, [width for high in reversed(widths) for width in (0, high)])
    return [_local(tensor, sharding, mesh, device) for device in range(mesh.devices)]


def argument_pieces(described: Mapping[str, Any], whole: Tensor, mesh: Mesh) -> list[Tensor]:
    """What each device holds of an argument.

    Args:
        described: the argument in the manifest.
        whole: its value, in any shape of its elements in the model's order, or as the program stores it.

    Raises:
        JogakError: a dimension has fewer elements than there are pieces.
    """
    return shard_value(stored(whole, described), Sharding.parse(described["sharding"]).on(mesh), mesh)


def _local(tensor: Tensor, sharding: Sharding, mesh: Mesh, device: int) -> Tensor:
    place = mesh.coordinates(device)
    for dim, (start, size) in enumerate(_window(tuple(tensor.shape), sharding, mesh, device)):
        tensor = tensor.narrow(dim, start, size)
    for axis, kind in sharding.partial:
        if place[axis] and kind in (Combiner.ADD, Combiner.MUL):
            tensor = torch.full_like(tensor, 0 if kind == Combiner.ADD else 1)
    return tensor.contiguous()


def _window(shape: Sequence[int], sharding: Sharding, mesh: Mesh, device: int) -> list[tuple[int, int]]:
    """For each dimension the first element and the number of elements on a device."""
    place = mesh.coordinates(device)
    window = []
    for size, axes in zip(shape, sharding.dims, strict=True):
        index = 0
        for axis in axes:
            index = index * mesh.sizes[axis] + place[axis]
        local = size // mesh.size(axes)
        window.append((index * local, local))
    return window


def unshard_value(
    tensors: Sequence[Tensor],
    sharding: Sharding,
    mesh: Mesh,
    *,
    shape: Sequence[int] | None = None,
    tolerance: float | None = REPLICAS,
) -> tuple[Tensor, float]:
    """The whole value from what each device holds; partial results are combined.

    Args:
        tensors: the local tensor of each device.
        sharding: how the value lies on the mesh.
        mesh: the mesh.
        shape: of the whole value; without it no piece holds padding.
        tolerance: how far replicas may differ, relative to the largest magnitude among them; None: as much as they do.

    Returns:
        The value, and the largest absolute difference between replicas.

    Raises:
        SimulationError: replicas differ by more than the tolerance.
    """
    complete = _complete(list(tensors), sharding, mesh)
    local = complete[0].shape
    padded = [size * mesh.size(axes) for size, axes in zip(local, sharding.dims, strict=True)]
    whole = complete[0].new_empty(padded if shape is None else list(shape))
    first: dict[tuple[tuple[int, int], ...], int] = {}
    largest = 0.0
    for device, tensor in enumerate(complete):
        window = tuple(_clipped(_window(padded, sharding, mesh, device), whole.shape))
        for dim, (_, size) in enumerate(window):
            tensor = tensor.narrow(dim, 0, size)
        if window in first:
            kept = complete[first[window]]
            for dim, (_, size) in enumerate(window):
                kept = kept.narrow(dim, 0, size)
            difference, scale = _difference(kept, tensor)
            if tolerance is not None and not difference <= tolerance * scale:
                raise SimulationError(
                    f"devices {first[window]} and {device} hold replicas that differ by up to {difference:.3g}",
                    hint=f"the tolerance is {tolerance:g}, relative to the largest magnitude",
                )
            largest = max(largest, difference)
            continue
        first[window] = device
        view = whole
        for dim, (start, size) in enumerate(window):
            view = view.narrow(dim, start, size)
        view.copy_(tensor)
    return whole, largest


def whole_results(
    described: Sequence[Mapping[str, Any]],
    outputs: Sequence[Sequence[Tensor]],
    mesh: Mesh,
    tolerance: float | None = REPLICAS,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Every result of a program in the model's shape, and how much devices differ that should hold the same piece.

    Args:
        described: the results in the manifest.
        outputs: for each device its results.
        tolerance: how far replicas may differ, relative to the largest magnitude among them; None: as much as they do.

    Raises:
        SimulationError: replicas differ by more.
    """
    results: dict[str, Tensor] = {}
    disagreement: dict[str, float] = {}
    for number, entry in enumerate(described):
        pieces = [each[number] for each in outputs]
        sharding = Sharding.parse(entry["sharding"]).on(mesh)
        whole, difference = unshard_value(pieces, sharding, mesh, shape=entry["shape"], tolerance=tolerance)
        results[entry["name"]], disagreement[entry["name"]] = logical(whole, entry), difference
    return results, disagreement


def _clipped(window: Sequence[tuple[int, int]], shape: Sequence[int]) -> list[tuple[int, int]]:
    """The part of a window that is not padding."""
    return [
        (min(start, extent), max(0, min(size, extent - start)))
        for (start, size), extent in zip(window, shape, strict=True)
    ]


def _complete(tensors: list[Tensor], sharding: Sharding, mesh: Mesh) -> list[Tensor]:
    """Combine partial results: every device of a group gets the complete one."""
    for axis, kind in sharding.partial:
        for group in mesh.groups([axis]):
            total = combine(str(kind), [tensors[device] for device in group])
            for device in group:
                tensors[device] = total
    return tensors


def _difference(a: Tensor, b: Tensor) -> tuple[float, float]:
    """The largest difference and the largest finite magnitude; equal NaNs and infinities do not differ."""
    x, y = a.double(), b.double()
    same = (x == y) | (torch.isnan(x) & torch.isnan(y))
    if bool(same.all()):
        return 0.0, 0.0
    scale = float(torch.maximum(x.abs(), y.abs()).nan_to_num(posinf=0.0).max())
    difference = torch.where(same, 0.0, (x - y).abs())
    return float(difference.nan_to_num(nan=torch.inf, posinf=torch.inf).max()), scale
