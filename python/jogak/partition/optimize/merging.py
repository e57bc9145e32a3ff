"""Sums of collectives: `all_reduce(x) + all_reduce(y)` is `all_reduce(x + y)`.

The sum is found inside of fused elementwise ops as well, in any tree of additions, subtractions and negations. It is
taken in front of the collectives, as an op of its own; the op that it was in reads one operand fewer. All-to-alls,
gathers, slices and reshapes between a reduction and the sum are linear, too: the sum is moved in front of each in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from torch_mlir import ir
from torch_mlir.dialects import arith, linalg, tensor

from jogak.ir.rewrite.build import (
    drop_unused_inputs,
    indexing_maps,
    input_count,
    is_parallel,
    iterator_array,
    map_array,
    top_level,
)
from jogak.ir.structured import shape_of
from jogak.partition.optimize.collectives import (
    ALL_GATHER,
    ALL_REDUCE,
    ALL_SLICE,
    ALL_TO_ALL,
    REDUCE_SCATTER,
    VIEWS,
    cause_of,
    is_sum,
    only_use,
    owner_of,
    rebuilt,
    signature,
)

_MOVES = (ALL_TO_ALL, ALL_GATHER)
_SIGNS = {"arith.addf": (1, 1), "arith.addi": (1, 1), "arith.subf": (1, -1), "arith.subi": (1, -1), "arith.negf": (-1,)}
"""Region ops of a sum, with the sign that each operand gets."""


@dataclass(frozen=True)
class _Pair:
    """Two operands of one op whose sum it needs, and nothing else of them.

    Attributes:
        first: number of the operand that stays.
        second: number of the operand that goes.
        opposed: whether they enter the sum with opposite signs.
    """

    first: int
    second: int
    opposed: bool


def merge_reductions(function: ir.Operation) -> int:
    """Take sums in front of the collectives whose results they add; return how many collectives that saved."""
    merged = 0
    todo = [op for op in top_level(function) if _may_add(op)]
    while todo:
        op = todo.pop()
        pair = next(_pairs(op), None)
        if pair is None:
            continue
        moved = owner_of(op.operands[pair.first])
        merged += moved is not None and moved.name.startswith("shard.") and moved.name != ALL_SLICE
        op, sum_ = _take_out(op, pair)
        todo.append(sum_)
        todo += [user for user in _without_copy(op) if user not in todo] if _is_copy(op) else [op]
    return merged


def _is_copy(op: ir.Operation) -> bool:
    """Whether nothing is left of an op but its operand: it was only the sum."""
    block = op.regions[0].blocks[0]
    maps = indexing_maps(op)
    yielded = next(iter(block.operations)).operation
    plain = yielded.name == "linalg.yield" and list(yielded.operands) == [block.arguments[0]]
    return plain and input_count(op) == 1 and maps[0] == maps[1] and op.operands[0].type == op.results[0].type


def _without_copy(op: ir.Operation) -> list[ir.Operation]:
    """Take a copy out; returns the ops that read it, which may be the next of a chain of sums."""
    users = [use.owner.operation for use in op.results[0].uses]
    op.results[0].replace_all_uses_with(op.operands[0])
    op.erase()
    return [user for user in users if _may_add(user)]


def _may_add(op: ir.Operation) -> bool:
    return op.name == "linalg.generic" and is_parallel(op)


def _pairs(op: ir.Operation) -> Iterator[_Pair]:
    maps = indexing_maps(op)
    arguments = list(op.regions[0].blocks[0].arguments)
    able = [number for number in range(input_count(op)) if only_use(op.operands[number]) is not None]
    able = [number for number in able if only_use(arguments[number]) is not None]
    for first, second in combinations(able, 2):
        if not _can_follow(op.operands[first], op.operands[second], maps[first], maps[second]):
            continue
        signs = _signs(arguments[first], arguments[second])
        if signs is not None:
            yield _Pair(first, second, signs[0] != signs[1])


def _can_follow(first: ir.Value, second: ir.Value, one: ir.AffineMap, other: ir.AffineMap) -> bool:
    """Whether the sum can be taken in front of the ops that make its two summands, and saves a collective."""
    a, b = owner_of(first), owner_of(second)
    if a is None or b is None or not _is_linear(a) or signature(a) != signature(b):
        return False
    if a.name == ALL_REDUCE:
        return ir.RankedTensorType(first.type).element_type == second.type.element_type and _permuted(one, other)
    if one != other or first.type != second.type or a.operands[0].type != b.operands[0].type:
        return False
    if a.name in (REDUCE_SCATTER, *_MOVES):
        return True
    single = only_use(a.operands[0]) is not None and only_use(b.operands[0]) is not None
    return single and _can_follow(a.operands[0], b.operands[0], one, other)


def _is_linear(op: ir.Operation) -> bool:
    if op.name in (ALL_REDUCE, REDUCE_SCATTER):
        return is_sum(op)
    return op.name in (*_MOVES, ALL_SLICE, *VIEWS)


def _permuted(one: ir.AffineMap, other: ir.AffineMap) -> bool:
    """Whether both maps read whole tensors over the same loops, in any order."""
    loops = [
        [expression.position for expression in map_.results if isinstance(expression, ir.AffineDimExpr)]
        for map_ in (one, other)
    ]
    plain = len(loops[0]) == len(one.results) and len(loops[1]) == len(other.results)
    return plain and sorted(loops[0]) == sorted(loops[1]) and len(set(loops[0])) == len(loops[0])


def _signs(first: ir.Value, second: ir.Value) -> tuple[int, int] | None:
    """The signs with which two scalars enter the smallest sum that has both; None when there is none."""
    above = dict(_climb(first))
    for op, sign in _climb(second):
        if op in above:
            return above[op], sign
    return None


def _climb(scalar: ir.Value) -> Iterator[tuple[ir.Operation, int]]:
    """The sums that a scalar of a region is part of, from the inside out, each with its sign there."""
    sign = 1
    while (use := only_use(scalar)) is not None and use.owner.name in _SIGNS:
        op = use.owner.operation
        sign *= _SIGNS[op.name][use.operand_number]
        yield op, sign
        scalar = op.results[0]


def _take_out(op: ir.Operation, pair: _Pair) -> tuple[ir.Operation, ir.Operation]:
    """Add two operands in front of the ops that make them; return what replaces `op`, and the sum."""
    maps = indexing_maps(op)
    first, second = (op.operands[number].owner.operation for number in (pair.first, pair.second))
    later = second if first.is_before_in_block(second) else first
    with ir.InsertionPoint.after(later), later.location:
        sum_ = _sum(first.operands[0], second.operands[0], maps[pair.first], maps[pair.second], pair.opposed)
        told = "; merged with ".join(dict.fromkeys(text for text in (cause_of(first), cause_of(second)) if text))
        made = rebuilt(first, sum_.results[0], shape_of(first.results[0]), told or None)
    op.operands[pair.first] = made.results[0]
    _leave_out(op, pair.second)
    replaced = drop_unused_inputs(op)
    for old in (first, second):
        if not list(old.results[0].uses):
            old.erase()
    return replaced, sum_


def _sum(x: ir.Value, y: ir.Value, one: ir.AffineMap, other: ir.AffineMap, opposed: bool) -> ir.Operation:
    """An op that adds (or subtracts) two tensors, of which `other` says how the second lies; shaped as the first."""
    type_ = ir.RankedTensorType(x.type)
    identity = second = ir.AffineMap.get_identity(type_.rank)
    if one != other:
        order = [expression.position for expression in one.results]
        loops = [ir.AffineDimExpr.get(order.index(expression.position)) for expression in other.results]
        second = ir.AffineMap.get(type_.rank, 0, loops)
    empty = tensor.EmptyOp(list(type_.shape), type_.element_type).result
    maps, kinds = map_array([identity, second, identity]), iterator_array(["parallel"] * type_.rank)
    op = linalg.GenericOp([type_], [x, y], [empty], maps, kinds)
    block = op.regions[0].blocks.append(*[type_.element_type] * 3)
    float_ = isinstance(type_.element_type, ir.FloatType)
    add, subtract = (arith.AddFOp, arith.SubFOp) if float_ else (arith.AddIOp, arith.SubIOp)
    with ir.InsertionPoint(block):
        linalg.YieldOp([(subtract if opposed else add)(block.arguments[0], block.arguments[1]).result])
    return op.operation


def _leave_out(op: ir.Operation, number: int) -> None:
    """Take an operand out of the sum that it enters in the region of `op`."""
    (use,) = op.regions[0].blocks[0].arguments[number].uses
    while use.owner.name == "arith.negf":
        (use,) = use.owner.results[0].uses
    inner = use.owner.operation
    rest = inner.operands[1 - use.operand_number]
    if use.operand_number == 0 and inner.name in ("arith.subf", "arith.subi"):
        rest = _negated(inner, rest)
    inner.results[0].replace_all_uses_with(rest)
    inner.erase()


def _negated(before: ir.Operation, value: ir.Value) -> ir.Value:
    with ir.InsertionPoint(before), before.location:
        if before.name == "arith.subf":
            return arith.NegFOp(value).result
        zero = arith.ConstantOp(value.type, ir.IntegerAttr.get(value.type, 0)).result
        return arith.SubIOp(zero, value).result
