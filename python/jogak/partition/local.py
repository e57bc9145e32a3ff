"""Making one op local: the changes, beyond its types, that an op needs when its factors are split.

Types, operands and collectives are `jogak.partition.partition`'s business; here is what is inside the op: loop indices
get this device's offset, reads and writes by data are shifted and masked, static sizes shrink, and an initial value
that is not an identity counts once.
"""

from __future__ import annotations

from torch_mlir import ir
from torch_mlir.dialects import arith, linalg

from jogak.ir.build import elementwise, identity_of, index_constant, mask, scalar
from jogak.ir.structured import shape_of
from jogak.partition.emit import Emitter
from jogak.partition.halo import localize_concat, localize_pad, localize_slice
from jogak.partition.masking import clamp_read, mask_terms
from jogak.partition.split import Split
from jogak.sharding.projection import Axes
from jogak.sharding.rule import Dims, FactorKind
from jogak.sharding.rules.tensor import static_list
from jogak.sharding.rules.tm_tensor import scatter_combiner
from jogak.sharding.sharding import Combiner


def localize(op: ir.Operation, split: Split, *, looks: bool = True) -> ir.Value | None:
    """Change the inside of `op`, whose operands are local already.

    Args:
        looks: whether its region counts iterations or reads tensors by index.

    Returns:
        what must take the place of its result in the end, when it cannot be changed itself.
    """
    match op.name:
        case "linalg.generic":
            _localize_generic(op, split, looks)
        case "tensor.expand_shape":
            _set_static(op, "static_output_shape", list(shape_of_result(op)))
        case "tensor.extract_slice":
            _shrink_slice(op, shape_of(op.operands[0]), split.rule.operands[0], split)
            localize_slice(op, split)
        case "tensor.pad":
            localize_pad(op, split)
        case "tensor.concat":
            return localize_concat(op, split)
        case "tensor.insert_slice":
            _shrink_slice(op, shape_of(op.operands[1]), split.rule.operands[1], split)
        case "tm_tensor.scatter":
            _localize_scatter(op, split)
        case _:
            pass
    return None


def shape_of_result(op: ir.Operation) -> tuple[int, ...]:
    return shape_of(op.results[0])


def _set_static(op: ir.Operation, name: str, sizes: list[int]) -> None:
    op.attributes[name] = ir.DenseI64ArrayAttr.get(sizes)


def _shrink_slice(op: ir.Operation, whole: tuple[int, ...], dims: tuple[tuple[int, ...], ...], split: Split) -> None:
    """A dimension that the slice takes whole is as long as the local tensor."""
    sizes = static_list(op, "static_sizes")
    for number, (size, members) in enumerate(zip(whole, dims, strict=True)):
        if any(split.assignment.get(member) for member in members):
            sizes[number] = size
    _set_static(op, "static_sizes", sizes)


def _localize_generic(op: ir.Operation, split: Split, looks: bool) -> None:
    body = [inner.operation for inner in op.regions[0].blocks[0].operations] if looks else []
    extracts = [inner for inner in body if inner.name == "tensor.extract"]
    tables = list(dict.fromkeys(extract.operands[0] for extract in extracts))
    table_dims = split.rule.operands[len(split.rule.operands) - len(tables) :]
    padded = [loop for loop in split.padded if loop < len(op.attributes["iterator_types"])]
    for extract in extracts:
        dims = table_dims[tables.index(extract.operands[0])]
        if padded:
            whole = [dim for dim, members in enumerate(dims) if not any(map(split.assignment.get, members))]
            clamp_read(extract, whole)
        _localize_read(extract, dims, split)
    for inner in body:
        if inner.name == "linalg.index" and list(inner.results[0].uses):
            loop = int(ir.IntegerAttr(inner.attributes["dim"]).value)
            if split.assignment.get(loop):
                _shift_index(inner, split.offset(loop))
    reduced = [loop for loop in padded if split.rule.factors[loop].kind is FactorKind.REDUCTION]
    if reduced:
        mask_terms(op, {loop: split.bound(loop) for loop in reduced})


def _shift_index(index: ir.Operation, offset: ir.Value) -> None:
    """`linalg.index` counts this device's iterations; the program means the whole tensor's."""
    with ir.InsertionPoint.after(index), index.location:
        shifted = arith.AddIOp(index.results[0], offset).result
    index.results[0].replace_all_uses_except(shifted, shifted.owner.operation)


def _localize_read(extract: ir.Operation, dims: Dims, split: Split) -> None:
    """A read of a table, of which this device has its part of every split dimension."""
    for dim, members in enumerate(dims):
        for factor in members:
            if not split.assignment.get(factor):
                continue
            if split.rule.factors[factor].kind is FactorKind.INDEXED:
                _mask_read(extract, dim, factor, split)
            else:
                with ir.InsertionPoint(extract), extract.location:
                    extract.operands[1 + dim] = linalg.IndexOp(factor).result


def _mask_read(extract: ir.Operation, dim: int, factor: int, split: Split) -> None:
    """A table whose rows are split: rows of other devices read as zero, so that the sum over the devices is the row."""
    with ir.InsertionPoint(extract), extract.location:
        row, inside = _shifted(extract.operands[1 + dim], split.offset(factor), split.part(factor))
        extract.operands[1 + dim] = row
    with ir.InsertionPoint.after(extract), extract.location:
        element = extract.results[0].type
        zero = arith.ConstantOp(element, scalar(element, 0)).result
        chosen = arith.SelectOp(inside, extract.results[0], zero).result
    extract.results[0].replace_all_uses_except(chosen, chosen.owner.operation)


def _shifted(index: ir.Value, offset: ir.Value, size: int) -> tuple[ir.Value, ir.Value]:
    """An index in a device's own part, 0 where it lies outside, and whether it lies inside."""
    zero, end = index_constant(0), index_constant(size)
    moved = arith.SubIOp(index, offset).result
    above = arith.CmpIOp(arith.CmpIPredicate.sge, moved, zero).result
    below = arith.CmpIOp(arith.CmpIPredicate.slt, moved, end).result
    inside = arith.AndIOp(above, below).result
    return arith.SelectOp(inside, moved, zero).result, inside


def _localize_scatter(op: ir.Operation, split: Split) -> None:
    """A target whose rows are split: updates of other devices' rows, and padding, are moved to row 0 as identities."""
    each, rows = 0, 1
    padded = split.is_padded(each)
    if not split.assignment.get(rows) and not padded:
        return
    updates, indices = op.operands[0], op.operands[1]
    combiner = scatter_combiner(op) or Combiner.ADD
    index_type = ir.RankedTensorType(indices.type)
    update_type = ir.RankedTensorType(updates.type)

    shift = (split.offset(rows), split.part(rows)) if split.assignment.get(rows) else None
    bound = split.bound(each) if padded else None

    def inside(index: ir.Value) -> tuple[ir.Value, ir.Value]:
        row = arith.IndexCastOp(ir.IndexType.get(), index).result
        counts = None
        if bound is not None:
            counts = arith.CmpIOp(arith.CmpIPredicate.slt, linalg.IndexOp(each).result, bound).result
            row = arith.SelectOp(counts, row, index_constant(0)).result
        if shift is None:
            return row, counts
        row, own = _shifted(row, *shift)
        return row, own if counts is None else arith.AndIOp(own, counts).result

    def row(index: ir.Value) -> ir.Value:
        return arith.IndexCastOp(index_type.element_type, inside(index)[0]).result

    def update(index: ir.Value, value: ir.Value) -> ir.Value:
        nothing = arith.ConstantOp(update_type.element_type, identity_of(combiner, update_type.element_type)).result
        return arith.SelectOp(inside(index)[1], value, nothing).result

    rank = len(shape_of(updates))
    first = ir.AffineMap.get(rank, 0, [ir.AffineDimExpr.get(0), ir.AffineConstantExpr.get(0)])
    with ir.InsertionPoint(op), op.location:
        masked = elementwise([indices, updates], [first, ir.AffineMap.get_identity(rank)], update_type, update)
        moved = elementwise([indices], [ir.AffineMap.get_identity(2)], index_type, row)
    op.operands[0] = masked
    op.operands[1] = moved
    op.attributes["unique_indices"] = ir.BoolAttr.get(False)


def count_once(value: ir.Value, combiner: Combiner, axes: Axes, emitter: Emitter) -> ir.Value:
    """An initial value on the first device of each group, the identity on the others (at the insertion point)."""
    if combiner in (Combiner.MAX, Combiner.MIN, Combiner.AND, Combiner.OR):
        return value  # combining it several times changes nothing
    element = ir.RankedTensorType(value.type).element_type
    return mask(value, emitter.is_first(axes), identity_of(combiner, element))
