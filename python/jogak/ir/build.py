"""Small builders of linalg-level IR that passes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch_mlir import ir
from torch_mlir.dialects import arith, linalg, tensor

from jogak.ir.structured import shape_of
from jogak.sharding.sharding import Combiner

Body = Callable[..., ir.Value]


def index_constant(value: int) -> ir.Value:
    """An `index` constant at the insertion point."""
    return arith.ConstantOp(ir.IndexType.get(), value).result


def tensor_type(shape: Sequence[int], element: ir.Type) -> ir.RankedTensorType:
    return ir.RankedTensorType.get(list(shape), element)


def elementwise(
    inputs: Sequence[ir.Value], maps: Sequence[ir.AffineMap], result: ir.RankedTensorType, body: Body
) -> ir.Value:
    """An all-parallel `linalg.generic` over the shape of `result`.

    Args:
        maps: one for each input; the result's is the identity.
        body: from the input scalars to the result scalar, called inside the region; it may use `linalg.index`.
    """
    empty = tensor.EmptyOp(list(result.shape), result.element_type).result
    identity = ir.AffineMap.get_identity(result.rank)
    attributes = ir.ArrayAttr.get([ir.AffineMapAttr.get(map_) for map_ in (*maps, identity)])
    iterators = ir.ArrayAttr.get([ir.Attribute.parse("#linalg.iterator_type<parallel>")] * result.rank)
    op = linalg.GenericOp([result], list(inputs), [empty], attributes, iterators)
    scalars = [ir.RankedTensorType(value.type).element_type for value in inputs] + [result.element_type]
    block = op.regions[0].blocks.append(*scalars)
    with ir.InsertionPoint(block):
        linalg.YieldOp([body(*list(block.arguments)[: len(inputs)])])
    return op.results[0]


def splat(value: ir.Attribute, type_: ir.RankedTensorType) -> ir.Value:
    """A constant tensor with one value everywhere."""
    return arith.ConstantOp(type_, ir.DenseElementsAttr.get_splat(type_, value)).result


def scalar(element: ir.Type, value: float | int) -> ir.TypedAttr:
    """A scalar attribute of an element type."""
    if isinstance(element, ir.IntegerType | ir.IndexType):
        return ir.IntegerAttr.get(element, int(value))
    return ir.FloatAttr.get(element, float(value))


def identity_of(combiner: Combiner, element: ir.Type) -> ir.TypedAttr:
    """The value that changes nothing when it is combined: what padding and all but one initial value must hold."""
    if isinstance(element, ir.IntegerType):
        lowest = -(2 ** (element.width - 1))
        table = {Combiner.MAX: lowest, Combiner.MIN: -1 - lowest, Combiner.AND: -1, Combiner.OR: 0}
    else:
        table = {Combiner.MAX: float("-inf"), Combiner.MIN: float("inf")}
    return scalar(element, table.get(combiner, 1 if combiner is Combiner.MUL else 0))


def is_identity(value: ir.Value, combiner: Combiner) -> bool:
    """Whether a value is a constant fill with the identity of `combiner`."""
    if isinstance(value, ir.BlockArgument):
        return False
    op = value.owner
    if op.name == "linalg.fill":
        source = op.operands[0]
        constant = None if isinstance(source, ir.BlockArgument) else source.owner
        held = constant.attributes["value"] if constant is not None and constant.name == "arith.constant" else None
    elif op.name == "arith.constant":
        dense = op.attributes["value"]
        held = dense.get_splat_value() if isinstance(dense, ir.DenseElementsAttr) and dense.is_splat else None
    else:
        return False
    if held is None:
        return False
    element = ir.RankedTensorType(value.type).element_type
    found, wanted = held.value, identity_of(combiner, element).value
    return bool(found == wanted)


def padded(value: ir.Value, shape: Sequence[int]) -> ir.Value:
    """`value` with zeros behind each dimension, up to `shape`; itself when it is as large."""
    old = shape_of(value)
    return (
        value
        if tuple(shape) == old
        else bordered(value, [0] * len(old), [n - o for n, o in zip(shape, old, strict=True)])
    )


def bordered(value: ir.Value, low: Sequence[int], high: Sequence[int]) -> ir.Value:
    """`value` with zeros in front of and behind each dimension."""
    element = ir.RankedTensorType(value.type).element_type
    shape = [before + size + after for before, size, after in zip(low, shape_of(value), high, strict=True)]
    zero = arith.ConstantOp(element, scalar(element, 0)).result
    op = tensor.PadOp(tensor_type(shape, element), value, [], [], low, high)
    block = op.regions[0].blocks.append(*[ir.IndexType.get()] * len(shape))
    with ir.InsertionPoint(block):
        tensor.YieldOp(zero)
    return op.result


def leading(value: ir.Value, shape: Sequence[int]) -> ir.Value:
    """The first elements of each dimension; `value` itself when that is all."""
    if tuple(shape) == shape_of(value):
        return value
    element = ir.RankedTensorType(value.type).element_type
    zeros, ones = [0] * len(shape), [1] * len(shape)
    return tensor.ExtractSliceOp(tensor_type(shape, element), value, [], [], [], zeros, shape, ones).result


def mask(value: ir.Value, keep: ir.Value, otherwise: ir.TypedAttr) -> ir.Value:
    """`value` where the scalar `keep` is true, `otherwise` elsewhere."""
    type_ = ir.RankedTensorType(value.type)

    def body(element: ir.Value) -> ir.Value:
        other = arith.ConstantOp(type_.element_type, otherwise).result
        return arith.SelectOp(keep, element, other).result

    return elementwise([value], [ir.AffineMap.get_identity(len(shape_of(value)))], type_, body)
