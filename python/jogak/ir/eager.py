"""How an engine without a compiler takes the arithmetic of a region: the passes over memory that it makes.

Most operations are a pass each. A scaled product is added by the pass that adds it, a moving average is one pass, so
is a choice between the values that it compares, and what an index chooses along a loop is gathered or scattered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch_mlir import ir

from jogak.ir.affine import LinearExpr

Loops = frozenset[int]
Calls = dict[ir.Operation, Loops]
"""Ops of a region that are passes, with the loops that each runs over."""

_SUMS = ("arith.addf", "arith.subf")
_CASTS = ("arith.index_cast", "arith.extsi", "arith.trunci")
_EQUAL = 0
"""The predicate `eq` of `arith.cmpi`."""
_ROUNDING = 1e-6


def passes_of(
    body: ir.Block, maps: Sequence[Sequence[LinearExpr | None]], loops: int, counts: Callable[[ir.Operation], bool]
) -> Calls:
    """The passes of a region, and the loops that each of them depends on.

    Args:
        maps: of the block's arguments.
        loops: how many there are.
        counts: whether an op makes something of tensors.
    """
    reader = _Reader(loops)
    for argument, exprs in zip(body.arguments, maps, strict=True):
        known = [expr.terms if expr is not None else tuple((loop, 1) for loop in range(loops)) for expr in exprs]
        reader.loops[argument] = frozenset(loop for terms in known for loop, _ in terms)
    for view in body.operations:
        reader.read(view.operation, counts(view.operation))
    for inner in list(reader.calls):
        for part in [*_scaled_parts(inner, reader), *_compared(inner, reader)]:
            reader.calls.pop(part, None)
    return reader.calls


class _Reader:
    """What is known of the values of a region, read from the first to the last.

    Attributes:
        loops: of each value, those that it depends on.
        indices: of values that are the index of a loop.
        chosen: values that are zero wherever the index of a loop is not a certain number.
        calls: the passes that were found.
    """

    def __init__(self, loops: int) -> None:
        self.all: Loops = frozenset(range(loops))
        self.loops: dict[ir.Value, Loops] = {}
        self.indices: dict[ir.Value, int] = {}
        self.chosen: dict[ir.Value, Loops] = {}
        self.calls: Calls = {}

    def of(self, value: ir.Value) -> Loops:
        return self.loops.get(value, frozenset())

    def read(self, op: ir.Operation, counts: bool) -> None:
        """Note an op, and whether it is a pass."""
        if op.name == "linalg.index":
            number = int(ir.IntegerAttr(op.attributes["dim"]).value)
            self.indices[op.results[0]] = number
            self.loops[op.results[0]] = frozenset([number])
            return
        operands = list(op.operands)
        own = frozenset[int]().union(*map(self.of, operands))
        self.loops |= dict.fromkeys(op.results, own)
        if op.name in _CASTS and operands[0] in self.indices:
            self.indices[op.results[0]] = self.indices[operands[0]]
        work = self._choice(op, operands, own)
        if counts:
            self.calls[op] = work

    def _choice(self, op: ir.Operation, operands: Sequence[ir.Value], own: Loops) -> Loops:
        """The loops that an op has work in: of a choice by an index, and of what adds it, all but the index's."""
        if op.name == "arith.cmpi" and int(ir.IntegerAttr(op.attributes["predicate"]).value) == _EQUAL:
            for index, number in (operands, operands[::-1]):
                loop = self.indices.get(index)
                if loop is not None and loop not in self.of(number):
                    self.chosen[op.results[0]] = own - {loop}
        elif op.name == "arith.select" and operands[0] in self.chosen and _constant(operands[2]) == 0.0:
            self.chosen[op.results[0]] = self.chosen[operands[0]]
        elif op.name in _SUMS:
            return min((self.chosen[each] for each in operands if each in self.chosen), key=len, default=own)
        return self.chosen.get(op.results[0], own) if len(op.results) else own


def _scaled_parts(op: ir.Operation, reader: _Reader) -> list[ir.Operation]:
    """The products that the pass of a sum or difference makes itself."""
    if op.name not in _SUMS:
        return []
    operands = list(op.operands)
    scales = [_scale(value, op, reader) for value in operands]
    numbers = [number for number in map(_constant, scales) if number is not None]
    if op.name == "arith.addf" and len(numbers) == len(operands) and abs(sum(numbers) - 1.0) < _ROUNDING:
        return [value.owner for value in operands]
    at = next((at for at in (1, 0) if scales[at] is not None and (at or op.name == "arith.addf")), None)
    if at is None:
        return []
    product = operands[at].owner
    inner = next((value.owner for value in product.operands if _is_product(value, op, reader)), None)
    return [product] if inner is None or _constant(scales[at]) is None else [product, inner]


def _scale(value: ir.Value, into: ir.Operation, reader: _Reader) -> ir.Value | None:
    """The factor of a product that is the same number in all iterations; None where it is no such product."""
    if not _is_product(value, into, reader):
        return None
    return next((factor for factor in value.owner.operands if not reader.of(factor)), None)


def _is_product(value: ir.Value, into: ir.Operation, reader: _Reader) -> bool:
    """Whether a value is a product that is read once, of all iterations of what reads it."""
    if not _is_result(value, "arith.mulf") or len(list(value.uses)) != 1:
        return False
    return reader.calls.get(value.owner) == reader.calls.get(into)


def _compared(op: ir.Operation, reader: _Reader) -> list[ir.Operation]:
    """The comparison that a choice makes itself: of what it chooses between, or of one value with a number."""
    if op.name != "arith.select" or not _is_result(op.operands[0], "arith.cmpf"):
        return []
    condition, *values = op.operands
    compared = list(condition.owner.operands)
    larger = set(compared) == set(values)
    threshold = any(_constant(each) == 0.0 for each in compared) and any(_constant(each) == 0.0 for each in values)
    alone = len(list(condition.uses)) == 1
    return [condition.owner] if alone and (larger or threshold) else []


def _is_result(value: ir.Value, name: str) -> bool:
    return not isinstance(value.owner, ir.Block) and value.owner.name == name


def _constant(value: ir.Value | None) -> float | None:
    """The number that a value is; None where it is none that is known."""
    if value is None or not _is_result(value, "arith.constant"):
        return None
    attribute = value.owner.attributes["value"]
    return float(attribute.value) if isinstance(attribute, ir.FloatAttr) else None
