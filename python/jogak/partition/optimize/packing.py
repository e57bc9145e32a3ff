"""Several collectives as one on a buffer that holds all their operands side by side.

An all-reduce does not care where an element lies: the buffer is a row. What a reduce-scatter gives to each device, and
what an all-gather takes from it, is a row of a matrix with a row for each device of the group. A small all-reduce can
be part of a reduce-scatter: it is in every row.

What was gathered has a row for each device, so a member is a block of columns, and getting it out is a copy. Members
of one width lie side by side and are got out together, by one transposition behind which each is a stretch of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from math import prod

from torch_mlir import ir

from jogak.ir.build import elementwise
from jogak.ir.rewrite.build import reshape
from jogak.ir.structured import shape_of
from jogak.partition.optimize.collectives import (
    ALL_GATHER,
    ALL_REDUCE,
    REDUCE_SCATTER,
    attributes_of,
    cause_of,
    rebuilt,
)

_DIMS = {REDUCE_SCATTER: "scatter_dim", ALL_GATHER: "gather_axis"}


def dim_of(op: ir.Operation) -> int:
    """The dimension that a collective scatters into or gathers; 0 for an all-reduce."""
    return int(ir.IntegerAttr(op.attributes[_DIMS[op.name]]).value) if op.name in _DIMS else 0


def needs_transpose(op: ir.Operation) -> bool:
    """Whether the parts of the devices lie interleaved in memory, so that packing has to move them apart."""
    return prod(shape_of(op.operands[0])[: dim_of(op)]) > 1


def emit_bucket(members: Sequence[ir.Operation], devices: int) -> list[ir.Value]:
    """One collective for several of one kind, axes, combiner and element type, behind the last of them.

    Args:
        members: in program order.
        devices: in each group.

    Returns:
        for each member what replaces its result; the last is made last.
    """
    first, loc = lead_of(members), members[-1].location
    ip = ir.InsertionPoint.after(members[-1])
    with ip, loc:
        rows = [
            _repeated(op, devices, ip, loc) if op.name != first.name else _packed(op, devices, ip, loc)
            for op in members
        ]
        widths = [shape_of(row)[-1] for row in rows]
        rank, total = len(shape_of(rows[0])), sum(widths)
        order = sorted(range(len(rows)), key=lambda n: widths[n] if first.name == ALL_GATHER else 0)
        starts = dict(zip(order, accumulate((widths[n] for n in order), initial=0), strict=False))
        buffer = _concatenated([rows[n] for n in order], total)
        lengths = {ALL_REDUCE: 1, REDUCE_SCATTER: 1, ALL_GATHER: devices}
        shape = [lengths[first.name], total][-rank:]
        made = _collective(first, buffer, shape, _told(members))
        blocks = _blocks(made, widths, order, ip, loc) if first.name == ALL_GATHER else {}
        results = []
        for number, op in enumerate(members):
            source, at = blocks.get(number, (made, starts[number]))
            piece = _row(source, at) if number in blocks else _slice(source, at, widths[number])
            results.append(_unpacked(op, piece, devices, ip, loc))
        return results


def gathered_groups(widths: Sequence[int]) -> dict[int, int]:
    """Widths of which so many members are got out of a gathered buffer together, each with their number.

    All of one width take one transposition; of several, those that are worth a slice and a transposition.
    """
    counts = Counter(widths)
    least = 2 if len(counts) == 1 else 3
    return {width: count for width, count in counts.items() if count >= least}


def _blocks(
    made: ir.Value, widths: Sequence[int], order: Sequence[int], ip: ir.InsertionPoint, loc: ir.Location
) -> dict[int, tuple[ir.Value, int]]:
    """For members that are got out together the tensor [members, devices, width] that holds them, and where."""
    found: dict[int, tuple[ir.Value, int]] = {}
    devices, total = shape_of(made)
    start = 0
    for width, count in sorted(Counter(widths).items()):
        if width in gathered_groups(widths):
            columns = made if count * width == total else _slice(made, start, count * width)
            block = _swapped(reshape(columns, (devices, count, width), ip=ip, loc=loc))
            together = [n for n in order if widths[n] == width]
            found |= {number: (block, place) for place, number in enumerate(together)}
        start += count * width
    return found


def lead_of(members: Sequence[ir.Operation]) -> ir.Operation:
    """The member that says what the bucket is: a reduce-scatter among all-reduces, otherwise the first."""
    return next((op for op in members if op.name != ALL_REDUCE), members[0])


def _repeated(op: ir.Operation, devices: int, ip: ir.InsertionPoint, loc: ir.Location) -> ir.Value:
    """The operand of an all-reduce, once for each device."""
    value = op.operands[0]
    size = prod(shape_of(value))
    row = reshape(value, (size,), ip=ip, loc=loc)
    type_ = ir.RankedTensorType.get([devices, size], ir.RankedTensorType(value.type).element_type)
    map_ = ir.AffineMap.get(2, 0, [ir.AffineDimExpr.get(1)])
    return elementwise([row], [map_], type_, lambda element: element)


def _told(members: Sequence[ir.Operation]) -> str:
    causes = dict.fromkeys(text for text in map(cause_of, members) if text)
    return ": ".join([f"{len(members)} in one bucket", *(["; ".join(causes)] if causes else [])])


def _collective(first: ir.Operation, buffer: ir.Value, shape: Sequence[int], cause: str) -> ir.Value:
    changes = {}
    if first.name in _DIMS:
        name = _DIMS[first.name]
        changes[name] = ir.IntegerAttr.get(attributes_of(first)[name].type, 0)
    return rebuilt(first, buffer, shape, cause, **changes).results[0]


def _packed(op: ir.Operation, devices: int, ip: ir.InsertionPoint, loc: ir.Location) -> ir.Value:
    """The operand as a row, or as a matrix with a row for each device."""
    value = op.operands[0]
    shape = shape_of(value)
    if op.name == ALL_REDUCE:
        return reshape(value, (prod(shape),), ip=ip, loc=loc)
    if op.name == ALL_GATHER:
        return reshape(value, (1, prod(shape)), ip=ip, loc=loc)
    dim = dim_of(op)
    if needs_transpose(op):
        value = reshape(value, (prod(shape[:dim]), devices, prod(shape[dim:]) // devices), ip=ip, loc=loc)
        value = _swapped(value)
    return reshape(value, (devices, prod(shape) // devices), ip=ip, loc=loc)


def _unpacked(op: ir.Operation, piece: ir.Value, devices: int, ip: ir.InsertionPoint, loc: ir.Location) -> ir.Value:
    if op.name == ALL_GATHER and needs_transpose(op):
        shape, dim = shape_of(op.operands[0]), dim_of(op)
        piece = reshape(piece, (devices, prod(shape[:dim]), prod(shape[dim:])), ip=ip, loc=loc)
        piece = reshape(_swapped(piece), (prod(shape) * devices,), ip=ip, loc=loc)
    flat = reshape(piece, (prod(shape_of(piece)),), ip=ip, loc=loc)
    return reshape(flat, shape_of(op.results[0]), ip=ip, loc=loc)


def _swapped(value: ir.Value) -> ir.Value:
    """The first two dimensions of three exchanged."""
    first, second, third = shape_of(value)
    type_ = ir.RankedTensorType.get([second, first, third], ir.RankedTensorType(value.type).element_type)
    map_ = ir.AffineMap.get(3, 0, [ir.AffineDimExpr.get(1), ir.AffineDimExpr.get(0), ir.AffineDimExpr.get(2)])
    return elementwise([value], [map_], type_, lambda element: element)


def _concatenated(rows: Sequence[ir.Value], total: int) -> ir.Value:
    shape = [*shape_of(rows[0])[:-1], total]
    type_ = ir.RankedTensorType.get(shape, ir.RankedTensorType(rows[0].type).element_type)
    dim = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), len(shape) - 1)
    return ir.Operation.create("tensor.concat", [type_], list(rows), {"dim": dim}).results[0]


def _slice(value: ir.Value, offset: int, width: int) -> ir.Value:
    """Columns of a buffer, from `offset` on."""
    shape = [*shape_of(value)[:-1], width]
    return _extracted(value, [*[0] * (len(shape) - 1), offset], shape)


def _row(value: ir.Value, number: int) -> ir.Value:
    """One entry of the first dimension."""
    shape = [1, *shape_of(value)[1:]]
    return _extracted(value, [number, *[0] * (len(shape) - 1)], shape)


def _extracted(value: ir.Value, offsets: Sequence[int], shape: Sequence[int]) -> ir.Value:
    lists = {"offsets": offsets, "sizes": shape, "strides": [1] * len(shape)}
    attributes: dict[str, ir.Attribute] = {
        f"static_{name}": ir.DenseI64ArrayAttr.get(list(values)) for name, values in lists.items()
    }
    attributes["operandSegmentSizes"] = ir.DenseI32ArrayAttr.get([1, 0, 0, 0])
    type_ = ir.RankedTensorType.get(list(shape), ir.RankedTensorType(value.type).element_type)
    return ir.Operation.create("tensor.extract_slice", [type_], [value], attributes).results[0]
