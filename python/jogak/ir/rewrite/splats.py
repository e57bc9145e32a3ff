"""Tensors whose elements are all one scalar: recognized, and rebuilt in any shape."""

from __future__ import annotations

from collections.abc import Sequence

from torch_mlir import ir

from jogak.ir.rewrite import build


def is_splat(value: ir.Value) -> bool:
    """Whether all elements are one scalar (or undefined), so that the value can be rebuilt in any shape."""
    owner = value.owner
    if isinstance(owner, ir.Block):
        return False
    if owner.name in ("tensor.empty", "linalg.fill"):
        return True
    if owner.name != "arith.constant":
        return False
    attribute = owner.attributes["value"]
    return isinstance(attribute, ir.DenseElementsAttr) and attribute.is_splat


def reshaped_splat(value: ir.Value, shape: Sequence[int], ip: ir.InsertionPoint) -> ir.Value:
    """A new splat of this shape with the element of the splat `value`."""
    owner = value.owner
    element = value.type.element_type
    if owner.name == "tensor.empty":
        return build.empty(shape, element, ip=ip, loc=owner.location)
    if owner.name == "linalg.fill":
        return build.fill(owner.operands[0], shape, ip=ip, loc=owner.location)
    kind = ir.RankedTensorType.get(shape, element)
    scalar = owner.attributes["value"].get_splat_value()
    return build.constant(ir.DenseElementsAttr.get_splat(kind, scalar), ip=ip, loc=owner.location)


def splat_scalar(value: ir.Value) -> ir.Value | ir.Attribute | None:
    """The element of a fill (a value) or of a splat constant (an attribute); None for anything else."""
    if not is_splat(value) or value.owner.name == "tensor.empty":
        return None
    owner = value.owner
    return owner.operands[0] if owner.name == "linalg.fill" else owner.attributes["value"].get_splat_value()


_MOVES = {"tensor.collapse_shape", "tensor.expand_shape", "tensor.extract_slice", "linalg.transpose"}


def _filled_with(op: ir.Operation) -> ir.Value | None:
    """The scalar that a generic writes everywhere, or None."""
    if op.name != "linalg.generic" or len(op.results) != 1 or len(op.operands) > 2:
        return None
    block = op.regions[0].blocks[0]
    yielded = block.operations[0].operation
    if yielded.name != "linalg.yield" or not build.is_parallel(op):
        return None
    scalar = yielded.operands[0]
    if scalar not in list(block.arguments):
        return scalar
    source = op.operands[scalar.arg_number]
    return source if not build.is_tensor(source) else None


def recognize_splats(function: ir.Operation) -> int:
    """Turn generics that write one scalar, and moved splats, into splats; return how many."""
    found = 0
    for op in build.top_level(function):
        made: ir.Value | None = None
        ip = ir.InsertionPoint(op)
        if op.name in _MOVES and is_splat(op.operands[0]):
            made = reshaped_splat(op.operands[0], build.shape_of(op.results[0]), ip)
        elif (scalar := _filled_with(op)) is not None:
            made = build.fill(scalar, build.shape_of(op.results[0]), ip=ip, loc=op.location)
        if made is not None:
            op.results[0].replace_all_uses_with(made)
            op.erase()
            found += 1
    return found
