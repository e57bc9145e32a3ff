"""Collectives whose results are used in part only, or taken back."""

from __future__ import annotations

from torch_mlir import ir

from jogak.ir.rewrite.build import top_level
from jogak.partition.optimize.collectives import (
    ALL_GATHER,
    ALL_REDUCE,
    ALL_TO_ALL,
    REDUCE_SCATTER,
    axes_of,
    cause_of,
    owner_of,
    reduction_of,
)

_IDEMPOTENT = ("max", "min", "bitwise_and", "bitwise_or")


def scatter_reductions(function: ir.Operation) -> int:
    """Replace pairs of collectives by one or none; return how many pairs."""
    replaced = 0
    for op in top_level(function):
        value = _simpler(op)
        if value is None:
            continue
        source = owner_of(op.operands[0])
        op.results[0].replace_all_uses_with(value)
        op.erase()
        if source is not None and not list(source.results[0].uses):
            source.erase()
        replaced += 1
    return replaced


def _simpler(op: ir.Operation) -> ir.Value | None:
    """What a collective leaves, made at less cost; None when it is good as it is."""
    source = owner_of(op.operands[0]) if op.operands else None
    if source is None or not source.name.startswith("shard."):
        return None
    match op.name, source.name:
        case "shard.all_slice", "shard.all_reduce":
            return _reduce_scatter(op, source)
        case "shard.all_slice", "shard.all_gather":
            return _slice_of_gather(op, source)
        case "shard.all_gather", "shard.all_slice" if _same_split(op, source):
            return source.operands[0]
        case "shard.all_reduce", "shard.all_reduce" if _repeats(op, source):
            return source.results[0]
        case _:
            return None


def _reduce_scatter(op: ir.Operation, source: ir.Operation) -> ir.Value | None:
    """Every device combines the part that it keeps; axes that are not sliced are reduced afterwards, on the part."""
    users = [use.owner.operation for use in source.results[0].uses]
    kept, reduced = axes_of(op), axes_of(source)
    if not set(kept) <= set(reduced) or any(user != op for user in users):
        return None
    rest = [axis for axis in reduced if axis not in kept]
    cause = ir.StringAttr.get(cause_of(source) or cause_of(op))
    attributes = {name: op.attributes[name] for name in ("grid", "grid_axes")}
    attributes |= {"scatter_dim": op.attributes["slice_axis"], "jogak.cause": cause}
    if "reduction" in source.attributes:
        attributes["reduction"] = source.attributes["reduction"]
    type_ = op.results[0].type
    with ir.InsertionPoint(op), source.location:
        made = ir.Operation.create(REDUCE_SCATTER, [type_], [source.operands[0]], attributes)
        if rest:
            attributes["grid_axes"] = ir.DenseI16ArrayAttr.get(rest)
            del attributes["scatter_dim"]
            made = ir.Operation.create(ALL_REDUCE, [type_], [made.results[0]], attributes)
    return made.results[0]


def _slice_of_gather(op: ir.Operation, source: ir.Operation) -> ir.Value | None:
    """A slice of what was gathered: nothing, or an exchange where another dimension is sliced."""
    if axes_of(op) != axes_of(source):
        return None
    before, after = _dim(source), _dim(op)
    if before == after:
        return source.operands[0]
    if len(list(source.results[0].uses)) > 1:
        return None
    attributes = {name: op.attributes[name] for name in ("grid", "grid_axes")}
    attributes["jogak.cause"] = ir.StringAttr.get(cause_of(op))
    i64 = ir.IntegerAttr(op.attributes["slice_axis"]).type
    attributes |= {"split_axis": ir.IntegerAttr.get(i64, after), "concat_axis": ir.IntegerAttr.get(i64, before)}
    with ir.InsertionPoint(op), op.location:
        made = ir.Operation.create(ALL_TO_ALL, [op.results[0].type], [source.operands[0]], attributes)
    return made.results[0]


def _dim(op: ir.Operation) -> int:
    name = "gather_axis" if op.name == ALL_GATHER else "slice_axis"
    return int(ir.IntegerAttr(op.attributes[name]).value)


def _same_split(op: ir.Operation, source: ir.Operation) -> bool:
    return axes_of(op) == axes_of(source) and _dim(op) == _dim(source)


def _repeats(op: ir.Operation, source: ir.Operation) -> bool:
    """Whether the devices have agreed already, on something that combining again does not change."""
    kind = reduction_of(op)
    same = kind == reduction_of(source) and set(axes_of(op)) <= set(axes_of(source))
    return same and any(kind == f"#shard<partial {name}>" for name in _IDEMPOTENT)
