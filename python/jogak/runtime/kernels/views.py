"""Operands as views over the loops, and results as tensors again.

In *loop space* a tensor has one dimension per loop, of size 1 where it does not depend on the loop, so that plain
broadcasting does what the indexing maps say.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from jogak.errors import JogakError
from jogak.runtime.kernels.emit import Emitter
from jogak.runtime.spec import Expr, IndexingMap, Linear, covers, is_projection


def to_loops(emit: Emitter, tensor: Tensor, map_: IndexingMap, shape: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """An operand in loop space: a view wherever the map is linear.

    Args:
        emit: the kernel being built.
        tensor: the operand.
        map_: its indexing map.
        shape: its shape.
        sizes: iterations of each loop.
    """
    if is_projection(map_, tuple(shape)):
        return _project(tensor, map_, shape, sizes)
    flipped = _without_negative(map_, shape)
    if flipped is None:
        return emit.call(torch.ops.aten.index.Tensor, tensor, index_tensors(emit, map_, sizes))
    dims, positive = flipped
    return _stride(tensor.flip(dims) if dims else tensor, positive, shape, sizes)


def loops_of(map_: IndexingMap) -> frozenset[int]:
    """The loops that a map depends on."""
    return frozenset(loop for expr in map_ for loop in _expr_loops(expr))


def _expr_loops(expr: Expr) -> frozenset[int]:
    if isinstance(expr, Linear):
        return frozenset(loop for loop, _ in expr.terms)
    return _expr_loops(expr.left) | _expr_loops(expr.right)


def _project(tensor: Tensor, map_: IndexingMap, shape: Sequence[int], sizes: Sequence[int]) -> Tensor:
    loops = [expr.loop if isinstance(expr, Linear) else None for expr in map_]
    order = sorted((d for d, loop in enumerate(loops) if loop is not None), key=lambda d: loops[d] or 0)
    rest = [d for d, loop in enumerate(loops) if loop is None]
    if order != sorted(order):
        tensor = tensor.permute(*order, *rest)
    used = set(loops)
    target = [size if loop in used else 1 for loop, size in enumerate(sizes)]
    return tensor if target == list(shape) and order == list(range(len(shape))) else tensor.reshape(target)


def _without_negative(map_: IndexingMap, shape: Sequence[int]) -> tuple[list[int], list[Linear]] | None:
    """Dimensions to flip so that no coefficient is negative, and the map behind it; None when that is not possible."""
    dims: list[int] = []
    positive: list[Linear] = []
    for dim, (expr, size) in enumerate(zip(map_, shape, strict=True)):
        if not isinstance(expr, Linear):
            return None
        signs = {coefficient > 0 for _, coefficient in expr.terms}
        if len(signs) > 1:
            return None
        if signs == {False}:
            dims.append(dim)
            expr = Linear(tuple((loop, -c) for loop, c in expr.terms), size - 1 - expr.constant)
        positive.append(expr)
    return dims, positive


def _stride(tensor: Tensor, exprs: Sequence[Linear], shape: Sequence[int], sizes: Sequence[int]) -> Tensor:
    strides = [0] * len(sizes)
    offset = 0
    for dim, (expr, size) in enumerate(zip(exprs, shape, strict=True)):
        step = prod(shape[dim + 1 :])
        last = expr.constant + sum(coefficient * (sizes[loop] - 1) for loop, coefficient in expr.terms)
        if prod(sizes) and not 0 <= expr.constant <= last < size:
            raise JogakError(f"an indexing map reads element {last} of a dimension of size {size}")
        offset += expr.constant * step
        for loop, coefficient in expr.terms:
            strides[loop] += coefficient * step
    used = {loop for expr in exprs for loop, _ in expr.terms}
    view = [size if loop in used else 1 for loop, size in enumerate(sizes)]
    # The third argument of as_strided counts from the start of the storage, which a slice does not begin at.
    start = tensor.contiguous().reshape(-1)[offset:] if offset else tensor.contiguous()
    return start.as_strided(view, strides)


def index_along(emit: Emitter, loop: int, sizes: Sequence[int]) -> Tensor:
    """The number of the iteration of one loop, in loop space."""
    line = emit.call(torch.arange, sizes[loop])
    return line.reshape([size if number == loop else 1 for number, size in enumerate(sizes)])


def index_tensors(emit: Emitter, map_: IndexingMap, sizes: Sequence[int]) -> list[Tensor]:
    """For each dimension the element that an iteration addresses, in loop space."""
    return [_index_tensor(emit, expr, sizes) for expr in map_]


def _index_tensor(emit: Emitter, expr: Expr, sizes: Sequence[int]) -> Tensor:
    if isinstance(expr, Linear):
        total = emit.call(torch.full, [1] * len(sizes), expr.constant, dtype=torch.int64)
        for loop, coefficient in expr.terms:
            total = total + index_along(emit, loop, sizes) * coefficient
        return total
    left, right = _index_tensor(emit, expr.left, sizes), _index_tensor(emit, expr.right, sizes)
    return combine(expr.op, left, right)


def combine(op: str, left: Tensor, right: Tensor) -> Tensor:
    """One affine operation on index values."""
    if op == "add":
        return left + right
    if op == "mul":
        return left * right
    if op == "mod":
        return torch.remainder(left, right)
    if op == "floordiv":
        return torch.div(left, right, rounding_mode="floor")
    return -torch.div(-left, right, rounding_mode="floor")


def from_loops(
    emit: Emitter, value: Tensor, map_: IndexingMap, shape: Sequence[int], sizes: Sequence[int], init: Tensor | None
) -> Tensor:
    """A result in loop space as the tensor that its map describes.

    Args:
        emit: the kernel being built.
        value: the result in loop space; loops that the map does not have are of size 1.
        map_: the output's indexing map.
        shape: the output's shape.
        sizes: iterations of each loop.
        init: what the elements hold that the map does not reach; None when it reaches all.
    """
    used = loops_of(map_)
    full = [size if loop in used else 1 for loop, size in enumerate(sizes)]
    value = value.expand(full)
    if not covers(map_, tuple(shape), tuple(sizes)):
        if init is None:
            raise JogakError("an output that is not fully written needs its initial value")
        return emit.call(torch.index_put, init, index_tensors(emit, map_, sizes), value)
    order = [expr.loop for expr in map_ if isinstance(expr, Linear) and expr.loop is not None]
    rest = [loop for loop in range(len(sizes)) if loop not in order]
    permuted = [*order, *rest]
    if order != sorted(order):
        value = value.permute(permuted)
        full = [full[loop] for loop in permuted]
    return value if full == list(shape) else value.reshape(list(shape))
