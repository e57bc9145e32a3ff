"""Collectives that were done in one, apart again: what waits in a bucket is memory.

Bucketing saves latency. For it every gradient waits for the last one, and then lies in the buffer until its update.
A collective on a concatenation is a concatenation of collectives, as long as the dimension is not the one that devices
take apart or put together: so the large pieces can be reduced alone, each right behind the op that makes it, and
written into the parameters at once. The small ones, which are most of the latency and hardly any bytes, stay together.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from torch_mlir import ir

from jogak.ir.structured import shape_of
from jogak.memory.reading import bytes_of
from jogak.partition.optimize.collectives import ALL_GATHER, ALL_REDUCE, REDUCE_SCATTER, rebuilt
from jogak.partition.optimize.packing import dim_of

_SMALL = 16
"""Pieces stay together that are, in all, at most one part in so many of the bucket."""
_SLICE = "tensor.extract_slice"


class Bucket(NamedTuple):
    """A collective on a concatenation whose pieces are got out one by one.

    Attributes:
        op: the collective.
        dim: of the concatenation.
        alone: the numbers of the operands that are large.
    """

    op: ir.Operation
    dim: int
    alone: Sequence[int]

    @property
    def bytes(self) -> int:
        """What lies in the buffer."""
        return max(bytes_of(self.op.operands[0]), bytes_of(self.op.results[0]))


def find_buckets(function: ir.Operation) -> list[Bucket]:
    """The buckets of a per-device function that can be taken apart."""
    operations = [view.operation for view in function.regions[0].blocks[0].operations]
    return [bucket for op in operations if (bucket := _bucket(op)) is not None]


def take_apart(buckets: Sequence[Bucket]) -> None:
    """Do the large pieces of buckets alone, each right behind what makes it."""
    for bucket in buckets:
        with bucket.op.location:
            _take_apart(bucket)


def _bucket(op: ir.Operation) -> Bucket | None:
    if op.name not in (ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER):
        return None
    operand = op.operands[0]
    if isinstance(operand, ir.BlockArgument) or operand.owner.name != "tensor.concat" or len(list(operand.uses)) > 1:
        return None
    concat = operand.owner
    dim = int(ir.IntegerAttr(concat.attributes["dim"]).value)
    if op.name != ALL_REDUCE and dim == dim_of(op):
        return None
    pieces = _pieces(concat, dim)
    if any(_piece_of(use.owner.operation, dim, pieces) is None for use in op.results[0].uses):
        return None
    alone = _large([bytes_of(value) for value in concat.operands])
    return Bucket(op, dim, alone) if len(pieces) > 1 and alone else None


def _large(sizes: Sequence[int]) -> list[int]:
    """The numbers of the pieces that do not stay together."""
    rest, together = sum(sizes) // _SMALL, 0
    small = set()
    for number in sorted(range(len(sizes)), key=sizes.__getitem__):
        together += sizes[number]
        if together > rest:
            break
        small.add(number)
    return [number for number in range(len(sizes)) if number not in small]


def _pieces(concat: ir.Operation, dim: int) -> list[tuple[int, int]]:
    """Where each operand begins and ends."""
    widths = [shape_of(value)[dim] for value in concat.operands]
    starts = list(accumulate(widths, initial=0))
    return list(pairwise(starts))


def _piece_of(op: ir.Operation, dim: int, pieces: Sequence[tuple[int, int]]) -> int | None:
    """The piece that a slice lies in; None where it reads of several, or is no static slice."""
    if op.name != _SLICE or len(op.operands) != 1:
        return None
    offset = list(ir.DenseI64ArrayAttr(op.attributes["static_offsets"]))[dim]
    size = list(ir.DenseI64ArrayAttr(op.attributes["static_sizes"]))[dim]
    stride = list(ir.DenseI64ArrayAttr(op.attributes["static_strides"]))[dim]
    end = offset + (size - 1) * stride + 1
    return next((n for n, (first, last) in enumerate(pieces) if first <= offset and end <= last), None)


def _take_apart(bucket: Bucket) -> None:
    op, dim = bucket.op, bucket.dim
    concat = op.operands[0].owner
    values, pieces = list(concat.operands), _pieces(concat, dim)
    alone = {number: _collective(op, values[number], dim, None) for number in bucket.alone}
    together = [number for number in range(len(values)) if number not in alone]
    shared = _together(op, [values[number] for number in together], dim)
    widths = [shape_of(values[number])[dim] for number in together]
    starts = dict(zip(together, accumulate(widths, initial=0), strict=False))
    for use in list(op.results[0].uses):
        slice_ = use.owner.operation
        piece = _piece_of(slice_, dim, pieces)
        assert piece is not None, "only buckets whose pieces are got out one by one are taken apart"
        source = alone.get(piece, shared)
        assert source is not None, "what is not alone is together"
        slice_.operands[0] = source
        offsets = list(ir.DenseI64ArrayAttr(slice_.attributes["static_offsets"]))
        offsets[dim] += starts.get(piece, 0) - pieces[piece][0]
        slice_.attributes["static_offsets"] = ir.DenseI64ArrayAttr.get(offsets)
    op.erase()
    concat.erase()


def _together(op: ir.Operation, values: Sequence[ir.Value], dim: int) -> ir.Value | None:
    """The collective on the pieces that stay together; None where there are none."""
    if len(values) < 2:
        return _collective(op, values[0], dim, op) if values else None
    concat = op.operands[0].owner
    shape = list(shape_of(values[0]))
    shape[dim] = sum(shape_of(value)[dim] for value in values)
    type_ = ir.RankedTensorType.get(shape, ir.RankedTensorType(values[0].type).element_type)
    attributes = {"dim": concat.attributes["dim"]}
    row = ir.Operation.create("tensor.concat", [type_], list(values), attributes, ip=ir.InsertionPoint(op))
    return _collective(op, row.results[0], dim, op)


def _collective(op: ir.Operation, value: ir.Value, dim: int, before: ir.Operation | None) -> ir.Value:
    """The collective on one value: in front of an op, or right behind what makes the value."""
    shape = list(shape_of(op.results[0]))
    shape[dim] = shape_of(value)[dim]
    block = op.block
    if before is not None:
        ip = ir.InsertionPoint(before)
    elif isinstance(value, ir.BlockArgument):
        ip = ir.InsertionPoint.at_block_begin(block)
    else:
        ip = ir.InsertionPoint.after(value.owner)
    with ip:
        return rebuilt(op, value, shape).results[0]
