"""Scalar clean-ups inside the bodies of linalg ops."""

from __future__ import annotations

import re

from torch_mlir import ir

from jogak.ir.rewrite.build import constant, scalar_constant

_LARGEST_POWER = 8


def collect(root: ir.Operation, pattern: str) -> list[ir.Operation]:
    """All operations below `root`, at any depth, whose whole name matches the regular expression `pattern`."""
    matches = re.compile(pattern).fullmatch
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if matches(op.name):
            found.append(op.operation)
        return ir.WalkResult.ADVANCE

    root.walk(visit, ir.WalkOrder.PRE_ORDER)
    return found


def _cast_constant(op: ir.Operation) -> ir.Attribute | None:
    """The constant that a cast of a scalar constant gives, or None when it is not one."""
    source = scalar_constant(op.operands[0])
    target = op.results[0].type
    if source is None or not isinstance(target, ir.FloatType):
        return None
    return ir.FloatAttr.get(target, float(source.value))


def fold_scalar_casts(root: ir.Operation) -> int:
    """Replace casts of scalar constants to a float type by constants, rounded to nearest; return how many.

    The constants are placed beside the ones they come from, so equal ones are shared by every body that uses them.
    """
    made: dict[tuple[ir.Value, str], ir.Value] = {}
    casts = collect(root, r"arith\.(truncf|extf|sitofp)")
    folded = 0
    for op in casts:
        attribute = _cast_constant(op)
        if attribute is None:
            continue
        source = op.operands[0]
        key = (source, str(attribute))
        if key not in made:
            made[key] = constant(attribute, ip=ir.InsertionPoint(source.owner), loc=source.owner.location)
        op.results[0].replace_all_uses_with(made[key])
        op.erase()
        folded += 1
    return folded


def _exponent(op: ir.Operation) -> int | None:
    """The small whole number that a power op raises to, or None."""
    attribute = scalar_constant(op.operands[1])
    if attribute is None:
        return None
    exponent = float(attribute.value)
    return int(exponent) if exponent.is_integer() and 1 <= exponent <= _LARGEST_POWER else None


def _product(x: ir.Value, exponent: int, before: ir.Operation) -> ir.Value:
    """`x` to the power `exponent` by repeated squaring."""
    result: ir.Value | None = None
    square = x
    while True:
        if exponent & 1:
            result = square if result is None else _multiply(result, square, before)
        exponent >>= 1
        if not exponent:
            return result
        square = _multiply(square, square, before)


def _multiply(left: ir.Value, right: ir.Value, before: ir.Operation) -> ir.Value:
    ip = ir.InsertionPoint(before)
    return ir.Operation.create("arith.mulf", [left.type], [left, right], ip=ip, loc=before.location).result


def expand_powers(root: ir.Operation) -> int:
    """Replace `math.fpowi` and `math.powf` by a small positive whole constant with multiplications; return how many."""
    powers = [(op, _exponent(op)) for op in collect(root, r"math\.(fpowi|powf)")]
    for op, exponent in powers:
        if exponent is not None:
            op.results[0].replace_all_uses_with(_product(op.operands[0], exponent, op))
            op.erase()
    return sum(exponent is not None for _, exponent in powers)
