"""Ops that read along a split dimension with an offset: what each device reads, and the op itself made local."""

from __future__ import annotations

from collections.abc import Mapping

from torch_mlir import ir
from torch_mlir.dialects import arith, linalg

from jogak.ir.build import elementwise, index_constant, tensor_type
from jogak.ir.structured import shape_of
from jogak.partition.emit import Emitter, Margins
from jogak.partition.reads import Pad, Place, Read
from jogak.partition.split import Split
from jogak.sharding.padding import local_size
from jogak.sharding.rules.tensor import pad_value, static_list
from jogak.sharding.windows import Window, exchange


class Windows:
    """Makes what devices read of split dimensions; what was made once is used again.

    Attributes:
        margins: the widest margins that are read of a value along a dimension, so that it is exchanged once.
    """

    def __init__(self, emitter: Emitter, margins: Mapping[Place, Margins]) -> None:
        self.emitter = emitter
        self.margins = margins
        self.exchanged: dict[tuple[ir.Value, int, tuple[str, ...]], ir.Value] = {}
        self.made: dict[tuple[ir.Value, Window, tuple[str, ...]], ir.Value] = {}

    def read(self, value: ir.Value, read: Read) -> ir.Value:
        """What an op reads of an operand, at the insertion point.

        Args:
            value: this device's piece of what is read.
        """
        for axes, window in read.windows:
            key = (value, window, axes)
            if key not in self.made:
                self.made[key] = self._read(value, window, axes, read)
            value = self.made[key]
        return value if read.pad is None else self._bordered(value, read.pad, read)

    def _read(self, value: ir.Value, window: Window, axes: tuple[str, ...], read: Read) -> ir.Value:
        made = exchange(window, self.emitter.mesh.size(axes))
        assert made is not None, "an assignment is possible only where its windows fit"
        margins = (0, 0)
        if made.low or made.high:
            margins = self.margins[read.value, read.sharding, window.dim, axes]
            value = self._exchange(value, window.dim, axes, margins)
        return self.emitter.window(value, window.dim, axes, made, margins)

    def _exchange(self, value: ir.Value, dim: int, axes: tuple[str, ...], margins: Margins) -> ir.Value:
        key = (value, dim, axes)
        if key not in self.exchanged:
            self.exchanged[key] = self.emitter.exchange(value, dim, axes, margins)
        return self.exchanged[key]

    def _bordered(self, value: ir.Value, pad: Pad, read: Read) -> ir.Value:
        """What was read of a value, as it would have been read of the padded one."""
        split = {window.dim for _, window in read.windows}
        low, high = ([0 if dim in split else width for dim, width in enumerate(each)] for each in (pad.low, pad.high))
        if any(low) or any(high):
            op = pad.op.clone()
            shape = [b + size + a for b, size, a in zip(low, shape_of(value), high, strict=True)]
            op.operands[0] = value
            op.attributes["static_low"] = ir.DenseI64ArrayAttr.get(low)
            op.attributes["static_high"] = ir.DenseI64ArrayAttr.get(high)
            op.results[0].set_type(tensor_type(shape, ir.RankedTensorType(value.type).element_type))
            value = op.results[0]
        for axes, window in read.padded:
            before, behind = pad.low[window.dim], pad.high[window.dim]
            if before or behind:
                part = local_size(window.iterations, self.emitter.mesh.size(axes))
                begin = self.emitter.offset(axes, window.stride * part)
                first = arith.SubIOp(index_constant(before - window.offset), begin).result
                value = _written(value, pad.op, window.dim, first, pad.shape[window.dim])
        return value


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
            first = arith.SubIOp(index_constant(-window.offset), split.offset(factor)).result
            op.operands[0] = _written(op.operands[0], op, window.dim, first, window.extent)
    op.attributes["static_low"] = ir.DenseI64ArrayAttr.get(low)
    op.attributes["static_high"] = ir.DenseI64ArrayAttr.get(high)


def _written(value: ir.Value, op: ir.Operation, dim: int, first: ir.Value, extent: int) -> ir.Value:
    """`value` for `extent` elements of a dimension from `first` on, what the pad `op` writes elsewhere."""
    written = pad_value(op)
    assert written is not None, "only a pad with one value is split"
    behind = arith.AddIOp(first, index_constant(extent)).result
    outside: ir.Value = written
    if not isinstance(written, ir.BlockArgument) and written.owner.operation.parent == op:
        outside = arith.ConstantOp(written.type, written.owner.attributes["value"]).result

    def body(element: ir.Value) -> ir.Value:
        place = linalg.IndexOp(dim).result
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
