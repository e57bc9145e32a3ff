"""Reading the `shard` dialect: the mesh, and the ops by which devices communicate."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch_mlir import ir

from jogak.cost.collectives import PERMUTE
from jogak.errors import JogakError
from jogak.ir.diagnostics import fail, source_location
from jogak.ir.grid import axis_lists
from jogak.ir.permute import is_permute, sources
from jogak.runtime.attributes import Cache
from jogak.runtime.program import Collective, CollectiveStep
from jogak.runtime.types import TensorType
from jogak.sharding.mesh import Mesh

INDEX = TensorType((), "index")

_DIMS = {"gather_axis", "scatter_dim", "slice_axis", "split_axis"}
_PEERS = {"root", "source", "destination"}
_LOCAL = {"process_multi_index", "process_linear_index", "grid_shape", "neighbors_linear_indices"}
KINDS = _LOCAL | {
    "all_reduce", "all_gather", "all_slice", "reduce_scatter", "all_to_all", "broadcast", "gather", "scatter", "reduce",
    "shift", "send", "recv", "update_halo",
}  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """The `shard.grid` of a module: its symbol and its mesh; both are missing where there is none."""

    symbol: str = ""
    mesh: Mesh | None = None


def read_mesh(module: ir.Module) -> Grid:
    """The grid of a module.

    Raises:
        PassFailed: there are two, or a size is not static.
    """
    grids = [op for op in module.body.operations if op.operation.name == "shard.grid"]
    if not grids:
        return Grid()
    if len(grids) > 1:
        fail(grids[1], "the module has a second shard.grid", hint="one program runs on one mesh")
    attributes = grids[0].attributes
    shape = tuple(int(size) for size in attributes["shape"])
    if min(shape, default=1) < 1:
        fail(grids[0], "the grid has a dynamic size", hint="give every axis its size")
    if "jogak.axes" in attributes:
        axes = tuple(name.value for name in attributes["jogak.axes"])
    else:
        axes = tuple(f"axis{number}" for number in range(len(shape)))
    return Grid(attributes["sym_name"].value, Mesh(axes, shape))


def read_collective(
    op: ir.Operation, grid: Grid, cache: Cache, numbers: Mapping[Any, int], define: Callable[[ir.Value], int]
) -> CollectiveStep:
    """Read one `shard` op as a step.

    Raises:
        PassFailed: the op is not known, or its grid is not there.
    """
    kind = op.name.removeprefix("shard.")
    if kind not in KINDS:
        fail(op, f"the op {op.name!r} cannot be executed")
    attributes = dict(cache.attributes(op))
    if grid.mesh is None or attributes["grid"] != grid.symbol:
        fail(
            op, f"the module has no shard.grid @{attributes['grid']}", hint="declare the mesh at the top of the module"
        )
    if kind == "recv" and "source" not in attributes:
        fail(op, "shard.recv has no source", hint="name the device that it receives from")
    permutes = is_permute(op)
    operands = tuple(numbers[value] for value in (list(op.operands)[:1] if permutes else op.operands))
    types = [cache.type(value.type) for value in op.operands]
    results = list(op.results)
    return CollectiveStep(
        _permute(op, grid.mesh, attributes) if permutes else _collective(op, kind, grid.mesh, attributes),
        operands,
        tuple(define(result) for result in results),
        types[0] if types and kind not in _LOCAL else INDEX,
        cache.type(results[0].type),
        str(source_location(op.location)),
    )


def _collective(op: ir.Operation, kind: str, mesh: Mesh, attributes: Mapping[str, Any]) -> Collective:
    names = attributes.get("grid_axes") or attributes.get("axes") or ()
    if kind == "neighbors_linear_indices":
        names = attributes["split_axes"]
    if kind in ("process_multi_index", "grid_shape") and not names:
        names = range(len(mesh.axes))
    axes = tuple(mesh.axes[axis] for axis in names)
    halo = _halo(op, mesh, attributes) if kind == "update_halo" else ()
    if halo:
        axes = tuple(axis for dim, _, _ in halo for axis in dim)
    return Collective(
        kind,
        axes,
        dim=next((int(attributes[name]) for name in sorted(_DIMS) if name in attributes), 0),
        concat_dim=int(attributes.get("concat_axis", 0)),
        reduction=_reduction(attributes),
        peer=next((tuple(attributes[name]) for name in sorted(_PEERS) if name in attributes), None),
        halo=halo,
        shift=_shift(mesh, attributes) if kind == "shift" else None,
        told=mesh.told(axes),
    )


def _permute(op: ir.Operation, mesh: Mesh, attributes: Mapping[str, Any]) -> Collective:
    axes = tuple(mesh.axes[axis] for axis in attributes["grid_axes"])
    try:
        return Collective(PERMUTE, axes, sources=sources(op, mesh), told=mesh.told(axes))
    except JogakError as error:
        fail(op, error.message, hint=error.hint)


def _reduction(attributes: Mapping[str, Any]) -> str:
    found = re.search(r"partial (\w+)", str(attributes.get("reduction", "")))
    return found[1] if found else ""


def _shift(mesh: Mesh, attributes: Mapping[str, Any]) -> tuple[str, int, bool]:
    return mesh.axes[int(attributes["shift_axis"])], int(attributes["offset"]), "rotate" in attributes


def _halo(op: ir.Operation, mesh: Mesh, attributes: Mapping[str, Any]) -> tuple[tuple[tuple[str, ...], int, int], ...]:
    """For each tensor dimension the axes and the sizes of its halo; dimensions that are not split have none."""
    split = axis_lists(attributes["split_axes"])
    sizes = list(attributes["static_halo_sizes"])
    if min(sizes, default=0) < 0:
        fail(op, "shard.update_halo with a dynamic halo size cannot be executed", hint="make it static")
    pairs = iter(zip(sizes[::2], sizes[1::2], strict=True))
    halo = []
    for dim in split:
        low, high = next(pairs) if dim else (0, 0)
        halo.append((tuple(mesh.axes[axis] for axis in dim), low, high))
    return tuple(halo)
