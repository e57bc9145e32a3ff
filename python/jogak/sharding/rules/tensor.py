"""Sharding rules of the `tensor` dialect: reshapes, slices, pads and concatenations."""

from __future__ import annotations

from collections.abc import Sequence

from torch_mlir import ir

from jogak.ir.structured import shape_of
from jogak.sharding.rule import Dims, Factor, FactorKind, OpShardingRule
from jogak.sharding.windows import Window

SHORT = 8
"""A piece of a concatenation that is shorter by this factor than the whole is not split."""
DYNAMIC = -(2**63)
"""How MLIR marks an offset or size in a static list that is really an operand."""


def static_list(op: ir.Operation, name: str) -> list[int]:
    """An integer array attribute as a list."""
    return [int(i) for i in op.attributes[name]]


def reassociation(op: ir.Operation) -> list[list[int]]:
    """The groups of a reshape: for each dimension of the smaller rank the dimensions of the larger."""
    return [[int(ir.IntegerAttr(i).value) for i in group] for group in op.attributes["reassociation"]]


def reshape_rule(op: ir.Operation) -> OpShardingRule:
    """`expand_shape` and `collapse_shape`: a dimension made of several factors, major to minor."""
    source, result = shape_of(op.operands[0]), shape_of(op.results[0])
    expanded = result if op.name == "tensor.expand_shape" else source
    factors: list[Factor] = []
    fine: list[tuple[int, ...]] = [()] * len(expanded)
    coarse: list[tuple[int, ...]] = []
    for group in reassociation(op):
        for dim in group:
            if expanded[dim] != 1:
                fine[dim] = (len(factors),)
                factors.append(Factor(expanded[dim]))
        coarse.append(tuple(factor for dim in group for factor in fine[dim]))
    dims = (tuple(fine), tuple(coarse))
    operand, out = (dims[1], dims[0]) if op.name == "tensor.expand_shape" else dims
    return OpShardingRule(tuple(factors), (operand,), (out,))


def same_rule(op: ir.Operation) -> OpShardingRule:
    """An op that gives back its operand: every dimension passes through."""
    shape = shape_of(op.operands[0])
    dims = tuple((number,) if size != 1 else () for number, size in enumerate(shape))
    return OpShardingRule(tuple(map(Factor, shape)), (dims,), (dims,))


class _Dims:
    """Factors of an op whose dimensions either pass through or must stay whole."""

    def __init__(self) -> None:
        self.factors: list[Factor] = []
        self.blocked = False

    def through(self, size: int) -> tuple[int, ...]:
        if size == 1:
            return ()
        self.factors.append(Factor(size))
        return (len(self.factors) - 1,)

    def whole(self, size: int) -> tuple[int, ...]:
        if size == 1:
            return ()
        self.blocked = True
        self.factors.append(Factor(size, FactorKind.BLOCKED))
        return (len(self.factors) - 1,)

    def windowed(self, *windows: Window) -> tuple[int, ...]:
        """A dimension of the result that operands are read along with an offset."""
        self.factors.append(Factor(windows[0].iterations, windows=windows))
        return (len(self.factors) - 1,)

    def rule(self, operands: Sequence[Dims], results: Sequence[Dims], reason: str) -> OpShardingRule:
        return OpShardingRule(tuple(self.factors), tuple(operands), tuple(results), reason if self.blocked else "")


def kept_dims(large: Sequence[int], small: Sequence[int]) -> list[int]:
    """Which dimensions of a slice's sizes remain in its rank-reduced shape."""
    kept: list[int] = []
    wanted = list(small)
    for dim, size in enumerate(large):
        if wanted and size == wanted[0]:
            kept.append(dim)
            wanted.pop(0)
    return kept


def _sliced_rule(op: ir.Operation, whole: ir.Value, part: ir.Value) -> tuple[_Dims, Dims, Dims]:
    """Dimensions of the whole and of the part of an extract_slice or insert_slice."""
    sizes, offsets, strides = (static_list(op, f"static_{name}") for name in ("sizes", "offsets", "strides"))
    shape = shape_of(whole)
    kept = kept_dims(sizes, shape_of(part))
    dims = _Dims()
    of_whole: list[tuple[int, ...]] = []
    of_part: list[tuple[int, ...]] = []
    for dim, size in enumerate(shape):
        untouched = sizes[dim] == size and offsets[dim] == 0 and strides[dim] == 1
        factor = dims.through(size) if untouched else dims.whole(size)
        of_whole.append(factor)
        if dim in kept:
            of_part.append(factor if untouched else dims.whole(sizes[dim]))
    return dims, tuple(of_whole), tuple(of_part)


def extract_slice_rule(op: ir.Operation) -> OpShardingRule:
    """Dimensions that the slice takes whole pass through; the others are read with an offset and a stride."""
    sizes, offsets, strides = (static_list(op, f"static_{name}") for name in ("sizes", "offsets", "strides"))
    shape = shape_of(op.operands[0])
    kept = kept_dims(sizes, shape_of(op.results[0]))
    dims = _Dims()
    whole: list[tuple[int, ...]] = []
    part: list[tuple[int, ...]] = []
    for dim, size in enumerate(shape):
        if sizes[dim] == size and offsets[dim] == 0 and strides[dim] == 1:
            factor = dims.through(size)
        elif dim in kept and sizes[dim] > 1 and offsets[dim] != DYNAMIC:
            factor = dims.windowed(Window(0, dim, size, sizes[dim], strides[dim], offsets[dim]))
        else:
            factor = dims.whole(size)
            if dim in kept:
                part.append(dims.whole(sizes[dim]))
            whole.append(factor)
            continue
        whole.append(factor)
        if dim in kept:
            part.append(factor)
    return dims.rule([tuple(whole)], [tuple(part)], "a slice cuts the dimension")


def insert_slice_rule(op: ir.Operation) -> OpShardingRule:
    """Dimensions that the slice covers whole pass through."""
    dims, whole, part = _sliced_rule(op, op.operands[1], op.operands[0])
    return dims.rule([part, whole], [whole], "a slice is written into the dimension")


def pad_rule(op: ir.Operation) -> OpShardingRule:
    """Dimensions without padding pass through; the others are read with an offset, and by position."""
    dims = _Dims()
    low, high = static_list(op, "static_low"), static_list(op, "static_high")
    by_position = any(list(index.uses) for index in op.regions[0].blocks[0].arguments)
    operand: list[tuple[int, ...]] = []
    result: list[tuple[int, ...]] = []
    sizes = zip(low, high, shape_of(op.operands[0]), shape_of(op.results[0]), strict=True)
    for dim, (before, after, size, new) in enumerate(sizes):
        if before == after == 0 and not by_position:
            factor = dims.through(size)
            operand.append(factor)
            result.append(factor)
        elif DYNAMIC not in (before, after) and pad_value(op) is not None and size > 1:
            factor = dims.windowed(Window(0, dim, size, new, 1, -before))
            operand.append(factor)
            result.append(factor)
        else:
            operand.append(dims.whole(size))
            result.append(dims.whole(new))
    return dims.rule([tuple(operand)], [tuple(result)], "the dimension is padded")


def pad_value(op: ir.Operation) -> ir.Value | None:
    """What a pad writes: a constant, or a scalar from outside of it; None when its region computes it."""
    block = op.regions[0].blocks[0]
    value = list(block.operations)[-1].operands[0]
    if isinstance(value, ir.BlockArgument):
        return None if value.owner == block else value
    inside = value.owner.operation.parent == op
    return None if inside and value.owner.name != "arith.constant" else value


def concat_rule(op: ir.Operation) -> OpShardingRule:
    """Every dimension but the concatenated one passes through; along that one pieces are read with an offset.

    Short pieces (a class token in front of the patches) every device has whole.
    """
    axis = int(ir.IntegerAttr(op.attributes["dim"]).value)
    dims = _Dims()
    shape = shape_of(op.results[0])
    shared = [dims.through(size) if dim != axis else () for dim, size in enumerate(shape)]

    sizes = [shape_of(operand)[axis] for operand in op.operands]
    joined = dims.windowed(
        *(
            Window(number, axis, size, shape[axis], 1, -sum(sizes[:number]), whole=size * SHORT <= shape[axis])
            for number, size in enumerate(sizes)
        )
    )

    def tensor(whole: bool) -> Dims:
        return tuple((() if whole else joined) if dim == axis else shared[dim] for dim in range(len(shape)))

    operands = [tensor(window.whole) for window in dims.factors[joined[0]].windows]
    return dims.rule(operands, [tensor(False)], "the dimension is concatenated")


def fill_rule(op: ir.Operation) -> OpShardingRule:
    """A fill by a scalar that every device has: any dimension of the result can be split."""
    dims = _Dims()
    shared = tuple(dims.through(size) for size in shape_of(op.results[0]))
    return dims.rule([shared], [shared], "")
