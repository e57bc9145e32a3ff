"""Affine indexing maps as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from torch_mlir import ir


@dataclass(frozen=True)
class LinearExpr:
    """`sum(coefficient * d_loop) + constant`; `terms` is sorted by loop and has no zero coefficient."""

    terms: tuple[tuple[int, int], ...] = ()
    constant: int = 0

    @property
    def loop(self) -> int | None:
        """The loop of a plain `d_i`, otherwise None."""
        if self.constant == 0 and len(self.terms) == 1 and self.terms[0][1] == 1:
            return self.terms[0][0]
        return None


def linear_expr(expr: ir.AffineExpr) -> LinearExpr | None:
    """Read an affine expression; None when it has a modulo, a division or a product of loops."""
    if isinstance(expr, ir.AffineDimExpr):
        return LinearExpr(((expr.position, 1),))
    if isinstance(expr, ir.AffineConstantExpr):
        return LinearExpr((), expr.value)
    if isinstance(expr, ir.AffineAddExpr | ir.AffineMulExpr):
        left, right = linear_expr(expr.lhs), linear_expr(expr.rhs)
        if left is None or right is None:
            return None
        return _add(left, right) if isinstance(expr, ir.AffineAddExpr) else _multiply(left, right)
    return None


def _add(left: LinearExpr, right: LinearExpr) -> LinearExpr:
    terms = dict(left.terms)
    for loop, coefficient in right.terms:
        terms[loop] = terms.get(loop, 0) + coefficient
    return LinearExpr(tuple(sorted((loop, c) for loop, c in terms.items() if c)), left.constant + right.constant)


def _multiply(left: LinearExpr, right: LinearExpr) -> LinearExpr | None:
    if left.terms and right.terms:
        return None
    scale, other = (right.constant, left) if not right.terms else (left.constant, right)
    return LinearExpr(tuple((loop, c * scale) for loop, c in other.terms if c * scale), other.constant * scale)


def linear_map(map_: ir.AffineMap) -> tuple[LinearExpr | None, ...]:
    """Every result of the map; None for one that is not linear."""
    return tuple(linear_expr(expr) for expr in map_.results)
