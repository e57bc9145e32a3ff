"""Sums of products: `accumulator += a * b * ...` as one einsum, or as a convolution.

The factors of the product may be any arithmetic; each is evaluated over its own loops only. Where one factor already
depends on every loop there is nothing to contract, and the general reduction is as good.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from jogak.runtime.kernels import convolve
from jogak.runtime.kernels.evaluate import producers
from jogak.runtime.kernels.generic import Generic
from jogak.runtime.kernels.reduce import is_identity, recognize
from jogak.runtime.spec import IndexingMap, Linear, covers, is_projection

_SUMS = {"arith.addf": "arith.mulf", "arith.addi": "arith.muli"}
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Factor(NamedTuple):
    """Values that are multiplied elementwise: they depend on the same loops, or on some of them."""

    values: tuple[int, ...]
    loops: frozenset[int]


def lower(op: Generic, result: int) -> Tensor | None:
    """The result as a contraction; None when it is not one."""
    spec = op.spec
    output = spec.inputs + result
    type_ = spec.operands[output]
    if prod(spec.sizes[loop] for loop in op.reduced_loops(result)) <= 1 or type_.element == "i1":
        return None
    found = recognize(op, result)
    if found is None or found.op.name not in _SUMS or not covers(spec.maps[output], type_.shape, spec.sizes):
        return None
    values = _product(op, found.term, _SUMS[found.op.name])
    if len(values) < 2 or prod(spec.sizes) == 0:
        return None
    value = convolve.lower(op, result, values)
    if value is None:
        factors = _factors(op, values)
        if len(factors) < 2:
            return None
        value = _einsum(op, result, factors)
    return value if is_identity(op, found) else op.init(result) + value


def _factors(op: Generic, values: Sequence[int]) -> list[Factor]:
    """The factors, merged until none depends on loops that another one has too; a pair of unequal ones stays a pair."""
    alone = [Factor((value,), _support(op, value)) for value in values]
    alone.sort(key=lambda factor: -len(factor.loops))
    merged: list[Factor] = []
    for factor in alone:
        wider = next((k for k, other in enumerate(merged) if factor.loops <= other.loops), None)
        if wider is None:
            merged.append(factor)
        else:
            merged[wider] = Factor((*merged[wider].values, *factor.values), merged[wider].loops)
    pair = len(alone) == 2 and alone[1].loops and alone[0].loops != alone[1].loops
    return alone if pair else merged


def _product(op: Generic, value: int, multiply: str) -> list[int]:
    region = op.spec.region
    made = producers(region).get(value)
    if made is None or region.ops[made[0]].name != multiply:
        return [value]
    return [factor for operand in region.ops[made[0]].operands for factor in _product(op, operand, multiply)]


def _support(op: Generic, value: int) -> frozenset[int]:
    """The loops of more than one iteration that a value depends on."""
    loops = op.region.value(value).loops
    return frozenset(loop for loop in loops if op.spec.sizes[loop] > 1)


def _einsum(op: Generic, result: int, factors: Sequence[Factor]) -> Tensor:
    spec = op.spec
    output = spec.inputs + result
    pairs = [_operand(op, factor) for factor in factors]
    covered = {loop for _, loops in pairs for loop in loops}
    order = [expr.loop for expr in spec.maps[output] if isinstance(expr, Linear) and expr.loop is not None]
    kept = [loop for loop in order if loop in covered]
    equation = ",".join(_subscripts(loops) for _, loops in pairs) + "->" + _subscripts(kept)
    value = op.emit.call(torch.einsum, equation, *(tensor for tensor, _ in pairs))
    missing = prod(spec.sizes[loop] for loop in op.reduced_loops(result) if loop not in covered)
    if missing != 1:
        value = value * missing
    shape = list(spec.operands[output].shape)
    if [spec.sizes[loop] for loop in kept] == shape:
        return value
    if len(kept) == len(order):
        return value.reshape(shape)
    ones = [spec.sizes[loop] if loop in covered else 1 for loop in order]
    return value.reshape(ones).expand([spec.sizes[loop] for loop in order]).reshape(shape)


def _subscripts(loops: Sequence[int]) -> str:
    return "".join(_LETTERS[loop] for loop in loops)


def _operand(op: Generic, factor: Factor) -> tuple[Tensor, list[int]]:
    """A factor as a tensor whose dimensions are loops, and those loops."""
    spec = op.spec
    number = factor.values[0]
    if len(factor.values) == 1 and 0 <= number < spec.inputs and number in op.tensors:
        type_, map_ = spec.operands[number], spec.maps[number]
        if is_projection(map_, type_.shape):
            return _direct(op.tensors[number], map_, type_.shape)
    tensor = op.region.tensor(factor.values[0])
    for value in factor.values[1:]:
        tensor = tensor * op.region.tensor(value)
    loops = sorted(factor.loops)
    return tensor.reshape([spec.sizes[loop] for loop in loops]), loops


def _direct(tensor: Tensor, map_: IndexingMap, shape: Sequence[int]) -> tuple[Tensor, list[int]]:
    loops = [expr.loop for expr in map_ if isinstance(expr, Linear) and expr.loop is not None]
    if len(loops) == len(shape):
        return tensor, loops
    return tensor.reshape(
        [size for expr, size in zip(map_, shape, strict=True) if isinstance(expr, Linear) and expr.loop is not None]
    ), loops
