"""Reading and rebuilding the `shard` collectives of a per-device program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from torch_mlir import ir

from jogak.ir.structured import shape_of
from jogak.sharding.mesh import Mesh

ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER = "shard.all_reduce", "shard.reduce_scatter", "shard.all_gather"
ALL_SLICE, ALL_TO_ALL = "shard.all_slice", "shard.all_to_all"
VIEWS = ("tensor.expand_shape", "tensor.collapse_shape")
CAUSE = "jogak.cause"


def owner_of(value: ir.Value) -> ir.Operation | None:
    """The op that makes a value; None for an argument."""
    return None if isinstance(value, ir.BlockArgument) else value.owner.operation


def axes_of(op: ir.Operation) -> tuple[int, ...]:
    """Numbers of the mesh axes of a collective's groups, major to minor."""
    return tuple(int(axis) for axis in op.attributes["grid_axes"])


def group_size(op: ir.Operation, mesh: Mesh) -> int:
    """Devices in each group of a collective."""
    return prod(mesh.shape[axis] for axis in axes_of(op))


def reduction_of(op: ir.Operation) -> str:
    """How a reducing collective combines, as MLIR writes it; a sum where nothing is written."""
    return str(op.attributes["reduction"]) if "reduction" in op.attributes else "#shard<partial sum>"


def is_sum(op: ir.Operation) -> bool:
    """Whether a reducing collective adds."""
    return reduction_of(op) == "#shard<partial sum>"


def attributes_of(op: ir.Operation) -> dict[str, ir.Attribute]:
    """All attributes by name."""
    return {name: op.attributes[name] for name in op.attributes}


def signature(op: ir.Operation) -> tuple[str, Mapping[str, ir.Attribute]]:
    """What an op does, apart from its operands and types and from what is told about it."""
    return op.name, {name: value for name, value in attributes_of(op).items() if name != CAUSE}


def rebuilt(
    op: ir.Operation, operand: ir.Value, shape: Sequence[int], cause: str | None = None, **changes: ir.Attribute
) -> ir.Operation:
    """The same op on another operand, at the insertion point.

    Args:
        shape: of the result.
        cause: why it is there; without one, that of `op`.
        changes: attributes that differ.
    """
    type_ = ir.RankedTensorType.get(list(shape), ir.RankedTensorType(operand.type).element_type)
    attributes = {**attributes_of(op), **changes}
    if cause is not None:
        attributes[CAUSE] = ir.StringAttr.get(cause)
    return ir.Operation.create(op.name, [type_], [operand], attributes, loc=op.location)


def cause_of(op: ir.Operation) -> str:
    """Why a collective is in the program; empty where nothing is written."""
    return str(ir.StringAttr(op.attributes[CAUSE]).value) if CAUSE in op.attributes else ""


def only_use(value: ir.Value) -> ir.OpOperand | None:
    """The single use of a value; None when there is none or several."""
    uses = list(value.uses)
    return uses[0] if len(uses) == 1 else None


def size_of(value: ir.Value) -> int:
    """Elements of a tensor."""
    return prod(shape_of(value))
