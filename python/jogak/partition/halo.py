"""Ops that read along a split dimension with an offset: what each device reads, and the op itself made local."""

from __future__ import annotations

from torch_mlir import ir
from torch_mlir.dialects import arith, linalg

from jogak.ir.build import elementwise, index_constant
from jogak.ir.structured import shape_of
from jogak.partition.emit import Emitter
from jogak.partition.split import Split
from jogak.sharding.rules.tensor import pad_value, static_list
from jogak.sharding.windows import Window, exchange


class Windows:
    """Makes what devices read of split dimensions; what was made once is used again."""

    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter
        self.made: dict[tuple[ir.Value, Window, tuple[str, ...]], ir.Value] = {}

    def read(self, value: ir.Value, operand: int, split: Split) -> ir.Value:
        """What the split factors of an op read of operand number `operand`, at the insertion point.

        Args:
            value: this device's piece of the operand.
        """
        for factor, axes in sorted(split.assignment.items()):
            for window in split.rule.factors[factor].windows:
                if window.operand == operand and axes:
                    key = (value, window, axes)
                    if key not in self.made:
                        self.made[key] = self._read(value, window, axes)
                    value = self.made[key]
        return value

    def _read(self, value: ir.Value, window: Window, axes: tuple[str, ...]) -> ir.Value:
        made = exchange(window, self.emitter.mesh.size(axes))
        assert made is not None, "an assignment is possible only where its windows fit"
        return self.emitter.window(value, window.dim, axes, made)


def windowed_factors(split: Split) -> list[int]:
    """The split factors of an op that read operands with an offset."""
    return [factor for factor in sorted(split.assignment) if split.rule.factors[factor].windows]


def localize_slice(op: ir.Operation, split: Split) -> None:
    """A slice takes all that was read along a split dimension."""
    offsets, sizes = static_list(op, "static_offsets"), static_list(op, "static_sizes")
    for factor in windowed_factors(split):
        (window,) = split.rule.factors[factor].windows
        offsets[window.dim], sizes[window.dim] = 0, split.part(factor)
    op.attributes["static_offsets"] = ir.DenseI64ArrayAttr.get(offsets)
    op.attributes["static_sizes"] = ir.DenseI64ArrayAttr.get(sizes)


def localize_pad(op: ir.Operation, split: Split) -> None:
    """Along a split dimension the border is written where this device's elements are no elements of the operand."""
    low, high = static_list(op, "static_low"), static_list(op, "static_high")
    for factor in windowed_factors(split):
        (window,) = split.rule.factors[factor].windows
        low[window.dim] = high[window.dim] = 0
        with ir.InsertionPoint(op), op.location:
            op.operands[0] = _bordered(op.operands[0], op, window, factor, split)
    op.attributes["static_low"] = ir.DenseI64ArrayAttr.get(low)
    op.attributes["static_high"] = ir.DenseI64ArrayAttr.get(high)


def _bordered(value: ir.Value, op: ir.Operation, window: Window, factor: int, split: Split) -> ir.Value:
    """`value` where it lies inside of the operand, what the pad writes elsewhere."""
    written = pad_value(op)
    assert written is not None, "only a pad with one value is split"
    first = arith.SubIOp(index_constant(-window.offset), split.offset(factor)).result
    behind = arith.AddIOp(first, index_constant(window.extent)).result
    outside: ir.Value = written
    if not isinstance(written, ir.BlockArgument) and written.owner.operation.parent == op:
        outside = arith.ConstantOp(written.type, written.owner.attributes["value"]).result

    def body(element: ir.Value) -> ir.Value:
        place = linalg.IndexOp(window.dim).result
        above = arith.CmpIOp(arith.CmpIPredicate.sge, place, first).result
        below = arith.CmpIOp(arith.CmpIPredicate.slt, place, behind).result
        return arith.SelectOp(arith.AndIOp(above, below).result, element, outside).result

    identity = ir.AffineMap.get_identity(len(shape_of(value)))
    return elementwise([value], [identity], ir.RankedTensorType(value.type), body)


def localize_concat(op: ir.Operation, split: Split) -> ir.Value | None:
    """Each element is taken from the piece in which it lies: what replaces the result, None when it is not split."""
    factors = windowed_factors(split)
    if not factors:
        return None
    (factor,) = factors
    windows = split.rule.factors[factor].windows
    result = ir.RankedTensorType(op.results[0].type)

    def body(*elements: ir.Value) -> ir.Value:
        place = linalg.IndexOp(windows[0].dim).result
        chosen = elements[-1]
        for element, bound in zip(elements[-2::-1], bounds[::-1], strict=True):
            before = arith.CmpIOp(arith.CmpIPredicate.slt, place, bound).result
            chosen = arith.SelectOp(before, element, chosen).result
        return chosen

    with ir.InsertionPoint(op), op.location:
        offset = split.offset(factor)
        bounds = [arith.SubIOp(index_constant(-window.offset), offset).result for window in windows[1:]]
        maps = [ir.AffineMap.get_identity(result.rank)] * len(windows)
        return elementwise(list(op.operands), maps, result, body)
