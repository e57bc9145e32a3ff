"""Keeping padding out of results.

What lies in the padding of a tensor means nothing, and what is computed from it lies in the padding of the result. Only
where elements are combined it must not take part: a term of a reduction that belongs to padding is replaced by the
identity. In a sum of products each factor is replaced, so that the op stays a contraction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch_mlir import ir
from torch_mlir.dialects import arith, linalg

from jogak.ir.build import identity_of, index_constant
from jogak.ir.structured import Structured, shape_of
from jogak.sharding.sharding import Combiner

_PRODUCTS = {"arith.mulf", "arith.muli"}


def mask_terms(op: ir.Operation, bounds: Mapping[int, ir.Value]) -> None:
    """Make a `linalg.generic` combine only iterations below a bound.

    Args:
        bounds: for each padded reduction loop how many iterations of this device count.
    """
    structured = Structured(op)
    yielded = list(list(structured.body.operations)[-1].operands)
    accumulators = list(structured.body.arguments)[structured.inputs :]
    for value, accumulator, combiner in zip(yielded, accumulators, structured.combiners, strict=True):
        if combiner is None:
            continue
        last = value.owner.operation
        position = next(number for number, operand in enumerate(last.operands) if operand != accumulator)
        _mask(last, position, combiner, structured, bounds)


def _mask(
    last: ir.Operation, position: int, combiner: Combiner, structured: Structured, bounds: Mapping[int, ir.Value]
) -> None:
    """Mask the term that is operand `position` of the combining op."""
    leaves = list(_factors(last, position)) if combiner is Combiner.ADD else []
    reach = [_loops(op.operands[number], structured) & set(bounds) for op, number in leaves]
    if len(leaves) > 1 and set().union(*reach) == set(bounds):
        for (op, number), loops in zip(leaves, reach, strict=True):
            if loops:
                _select(op, number, {loop: bounds[loop] for loop in sorted(loops)}, combiner)
    else:
        _select(last, position, bounds, combiner)


def _factors(op: ir.Operation, position: int) -> Iterator[tuple[ir.Operation, int]]:
    """The uses of the factors of a product, each as an op and an operand number."""
    value = op.operands[position]
    if isinstance(value, ir.BlockArgument) or value.owner.name not in _PRODUCTS:
        yield op, position
        return
    for number in range(2):
        yield from _factors(value.owner.operation, number)


def _loops(value: ir.Value, structured: Structured) -> set[int]:
    """The loops that a value of the region depends on."""
    found: set[int] = set()
    seen: set[ir.Value] = set()
    todo = [value]
    arguments = list(structured.body.arguments)
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        if isinstance(current, ir.BlockArgument):
            if current in arguments:
                exprs = structured.maps[arguments.index(current)]
                found |= {loop for expr in exprs if expr is not None for loop, _ in expr.terms}
        elif current.owner.name == "linalg.index":
            found.add(int(ir.IntegerAttr(current.owner.attributes["dim"]).value))
        elif current.owner.operation.parent == structured.op:
            todo += current.owner.operands
    return found


def _select(op: ir.Operation, number: int, bounds: Mapping[int, ir.Value], combiner: Combiner) -> None:
    """Replace an operand by the identity in iterations that do not count."""
    value = op.operands[number]
    with ir.InsertionPoint(op), op.location:
        counts = _counts(bounds)
        nothing = arith.ConstantOp(value.type, identity_of(combiner, value.type)).result
        op.operands[number] = arith.SelectOp(counts, value, nothing).result


def _counts(bounds: Mapping[int, ir.Value]) -> ir.Value:
    """Whether an iteration counts, at the insertion point in a region."""
    tests = [
        arith.CmpIOp(arith.CmpIPredicate.slt, linalg.IndexOp(loop).result, bound).result
        for loop, bound in bounds.items()
    ]
    whole = tests[0]
    for test in tests[1:]:
        whole = arith.AndIOp(whole, test).result
    return whole


def clamp_read(extract: ir.Operation, dims: Sequence[int]) -> None:
    """Keep a read inside of its table along some dimensions: what is computed from padding may be any index."""
    sizes = shape_of(extract.operands[0])
    with ir.InsertionPoint(extract), extract.location:
        for dim in dims:
            low = arith.MaxSIOp(extract.operands[1 + dim], index_constant(0)).result
            extract.operands[1 + dim] = arith.MinSIOp(low, index_constant(sizes[dim] - 1)).result
