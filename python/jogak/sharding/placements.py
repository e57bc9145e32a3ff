"""DTensor placements and shardings: `Shard(0)`, `Replicate()`, `Partial()` for each mesh axis, and back.

A DTensor has one placement for each dimension of its device mesh; where several shard one dimension, the first is the
major one. No process group is needed, nor torch to read placements: they are taken by what they say of themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jogak.errors import JogakError
from jogak.sharding.mesh import Mesh
from jogak.sharding.sharding import Combiner, Sharding

if TYPE_CHECKING:
    from torch.distributed.tensor import Placement

_REDUCTIONS = {
    "sum": Combiner.ADD,
    "product": Combiner.MUL,
    "max": Combiner.MAX,
    "min": Combiner.MIN,
    "band": Combiner.AND,
    "bor": Combiner.OR,
}


def from_placements(placements: Sequence[Any], rank: int, mesh: Mesh) -> Sharding:
    """The sharding of a tensor with `rank` dimensions that lies as DTensor says.

    Args:
        placements: one for each axis of the mesh.

    Raises:
        JogakError: their number is not that of the axes, a dimension is out of range, or one is of another kind
            (strided shards, averages).
    """
    if len(placements) != len(mesh.axes):
        raise JogakError(
            f"{len(placements)} placements for the {len(mesh.axes)} axes of the mesh {mesh}",
            hint="DTensor gives one placement for each mesh dimension, in order",
        )
    dims: list[tuple[str, ...]] = [()] * rank
    partial: dict[str, Combiner] = {}
    for axis, placement in zip(mesh.axes, placements, strict=True):
        kind = type(placement).__name__
        if kind == "Shard":
            dim = placement.dim + rank if placement.dim < 0 else placement.dim
            if not 0 <= dim < rank:
                raise JogakError(f"{placement} of a tensor of {rank} dimensions", hint="dimensions count from 0")
            dims[dim] = (*dims[dim], axis)
        elif kind == "Partial" and placement.reduce_op in _REDUCTIONS:
            partial[axis] = _REDUCTIONS[placement.reduce_op]
        elif kind != "Replicate":
            raise JogakError(
                f"the placement {placement} on axis {axis!r} has no counterpart",
                hint="Shard, Replicate and Partial with sum, product, max, min, band or bor have one",
            )
    return Sharding(tuple(dims)).with_partial(partial)


def to_placements(sharding: Sharding, mesh: Mesh) -> tuple[Placement, ...]:
    """A DTensor's placements for a tensor that lies as `sharding` says, one for each axis of the mesh.

    Raises:
        JogakError: the axes of a dimension are not in the order of the mesh, which placements cannot say.
    """
    from torch.distributed.tensor import Partial, Replicate, Shard

    sharding.check(mesh)
    for axes in sharding.dims:
        if list(axes) != sorted(axes, key=mesh.index):
            raise JogakError(
                f"{sharding} splits a dimension by {' '.join(axes)}, which is not the order of the mesh {mesh}",
                hint="name the axes of the mesh in that order",
            )
    where = {axis: dim for dim, axes in enumerate(sharding.dims) for axis in axes}
    names = {combiner: name for name, combiner in _REDUCTIONS.items()}
    partial = {axis: names[combiner] for axis, combiner in sharding.partial}
    return tuple(
        Shard(where[axis]) if axis in where else Partial(partial[axis]) if axis in partial else Replicate()
        for axis in mesh.axes
    )
