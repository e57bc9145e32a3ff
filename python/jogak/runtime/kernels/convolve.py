"""Convolutions: a sum of products in which one operand is read through a sliding window.

The loops say by themselves what they are, so every layout, group count and dimensionality is one case. A window that is
larger than what it slides over is the gradient of a convolution's weight, and is computed as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from jogak.runtime.kernels.evaluate import producers
from jogak.runtime.kernels.generic import Generic
from jogak.runtime.spec import IndexingMap, Linear, is_projection
from jogak.runtime.types import is_float

_FILTER = 4
"""A window of at most this size is a filter even where it is larger than what it slides over: small images."""


class Window(NamedTuple):
    """A dimension read at `outer * stride + inner * dilation + start`; `inner` runs over the filter."""

    outer: int
    inner: int
    stride: int
    dilation: int
    start: int


class Roles(NamedTuple):
    """What each loop of a convolution is."""

    batch: tuple[int, ...]
    group: tuple[int, ...]
    channel: tuple[int, ...]
    feature: tuple[int, ...]
    windows: tuple[Window, ...]
    backwards: bool
    """Whether the filter is read from its end: the transposed convolution of the filter as it lies."""


class _Operand(NamedTuple):
    number: int
    tensor: Tensor


def lower(op: Generic, result: int, factors: Sequence[int]) -> Tensor | None:
    """The sum of products without its initial value, in the output's shape; None when it is not a convolution."""
    if len(factors) != 2:
        return None
    operands = [_operand(op, value) for value in factors]
    if operands[0] is None or operands[1] is None:
        return None
    for data, weights in ((operands[0], operands[1]), (operands[1], operands[0])):
        roles = _roles(op, data.number, weights.number, op.spec.inputs + result)
        if roles is not None:
            return _convolve(op, data, weights, op.spec.inputs + result, roles)
    return None


def _operand(op: Generic, value: int) -> _Operand | None:
    """The operand behind a factor, seen through a widening cast; None when the factor is anything else."""
    made = producers(op.spec.region).get(value)
    number = value
    element = op.spec.region.arguments[value] if made is None and value >= 0 else ""
    if made is not None:
        cast = op.spec.region.ops[made[0]]
        number, element = (cast.operands[0], cast.results[0]) if cast.name == "arith.extf" else (-1, "")
    if not 0 <= number < op.spec.inputs or number not in op.tensors or not is_float(element):
        return None
    tensor = op.tensors[number]
    return _Operand(number, tensor if made is None else tensor.to(op.emit.dtype(element)))


def _roles(op: Generic, data: int, weights: int, output: int) -> Roles | None:
    spec = op.spec
    filters, backwards = _forwards(spec.maps[weights], spec.operands[weights].shape)
    shapes = [spec.operands[k].shape for k in (weights, output)]
    if not all(is_projection(*pair) for pair in zip((filters, spec.maps[output]), shapes, strict=True)):
        return None
    pure, windows = _read_data(spec.maps[data], _loops(filters), _loops(spec.maps[output]))
    if not 1 <= len(windows) <= 3:
        return None
    used, made = set(_loops(filters)), set(_loops(spec.maps[output]))
    if backwards and (backwards != {window.inner for window in windows} or any(each.stride > 1 for each in windows)):
        return None
    sliding = {loop for window in windows for loop in (window.outer, window.inner)}
    roles = Roles(
        batch=tuple(loop for loop in pure if loop in made and loop not in used),
        group=tuple(loop for loop in pure if loop in made and loop in used),
        channel=tuple(loop for loop in pure if loop not in made and loop in used),
        feature=tuple(sorted((used & made) - set(pure) - sliding)),
        windows=tuple(windows),
        backwards=bool(backwards),
    )
    named = [*roles.batch, *roles.group, *roles.channel, *roles.feature, *sliding]
    return roles if sorted(named) == list(range(len(spec.sizes))) else None


def _forwards(map_: IndexingMap, shape: Sequence[int]) -> tuple[IndexingMap, frozenset[int]]:
    """A map without reversed dimensions, and the loops of those that it had."""
    exprs, loops = [], []
    for expr, size in zip(map_, shape, strict=True):
        if isinstance(expr, Linear) and len(expr.terms) == 1 and (expr.terms[0][1], expr.constant) == (-1, size - 1):
            loops.append(expr.terms[0][0])
            expr = Linear(((expr.terms[0][0], 1),))
        exprs.append(expr)
    return tuple(exprs), frozenset(loops)


def _loops(map_: IndexingMap) -> list[int]:
    return [expr.loop for expr in map_ if isinstance(expr, Linear) and expr.loop is not None]


def _read_data(map_: IndexingMap, used: Sequence[int], made: Sequence[int]) -> tuple[list[int], list[Window]]:
    """The plain loops and the windows of the data's map; no windows when it has anything else."""
    pure: list[int] = []
    windows: list[Window] = []
    for expr in map_:
        if not isinstance(expr, Linear):
            return [], []
        if expr.loop is not None:
            pure.append(expr.loop)
        elif expr.terms:
            window = _window(expr, used, made)
            if window is None:
                return [], []
            windows.append(window)
        elif expr.constant:
            return [], []
    return pure, windows


def _window(expr: Linear, used: Sequence[int], made: Sequence[int]) -> Window | None:
    if len(expr.terms) != 2 or any(coefficient < 0 for _, coefficient in expr.terms):
        return None
    for (outer, stride), (inner, dilation) in (expr.terms, expr.terms[::-1]):
        if outer in made and outer not in used and inner in used and inner not in made:
            return Window(outer, inner, stride, dilation, expr.constant)
    return None


def _convolve(op: Generic, data: _Operand, weights: _Operand, output: int, roles: Roles) -> Tensor:
    sizes = op.spec.sizes
    outer = prod(sizes[window.outer] for window in roles.windows)
    inner = prod(sizes[window.inner] for window in roles.windows)
    small = all(sizes[window.inner] <= _FILTER for window in roles.windows)
    direct = _transposed if roles.backwards else _forward
    apart = any(window.dilation > 1 for window in roles.windows)  # the stride of what this is the gradient of
    function = _weight_gradient if inner > outer and (apart or not small) and not roles.backwards else direct
    value, order = function(op, data, weights, roles)
    wanted = _loops(op.spec.maps[output])
    value = value.reshape([sizes[loop] for loop in order])
    if order != wanted:
        value = value.permute([order.index(loop) for loop in wanted])
    return value.reshape(list(op.spec.operands[output].shape))


def _forward(op: Generic, data: _Operand, weights: _Operand, roles: Roles) -> tuple[Tensor, list[int]]:
    """A convolution: its result, merged, and the loops that its dimensions are made of."""
    outer = [window.outer for window in roles.windows]
    inner = [window.inner for window in roles.windows]
    source = _data(op, data, roles, [roles.batch, roles.group + roles.channel])
    filters = _merge(op, weights, [roles.group + roles.feature, roles.channel, *([loop] for loop in inner)])
    convolution = (torch.conv1d, torch.conv2d, torch.conv3d)[len(outer) - 1]
    value = op.emit.call(
        convolution,
        source,
        filters,
        None,
        stride=[window.stride for window in roles.windows],
        dilation=[window.dilation for window in roles.windows],
        groups=prod(op.spec.sizes[loop] for loop in roles.group),
    )
    return value, [*roles.batch, *roles.group, *roles.feature, *outer]


def _transposed(op: Generic, data: _Operand, weights: _Operand, roles: Roles) -> tuple[Tensor, list[int]]:
    """A convolution with a filter that is read from its end, as the gradient of a convolution's input is."""
    sizes = op.spec.sizes
    outer = [window.outer for window in roles.windows]
    inner = [window.inner for window in roles.windows]
    source = _data(op, data, roles, [roles.batch, roles.group + roles.channel])
    filters = _merge(op, weights, [roles.group + roles.channel, roles.feature, *([loop] for loop in inner)])
    rank = len(outer)
    function = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)[rank - 1]
    value = op.emit.call(
        function,
        source,
        filters,
        None,
        stride=[1] * rank,
        padding=[window.dilation * (sizes[window.inner] - 1) for window in roles.windows],
        dilation=[window.dilation for window in roles.windows],
        groups=prod(sizes[loop] for loop in roles.group),
    )
    return value, [*roles.batch, *roles.group, *roles.feature, *outer]


def _weight_gradient(op: Generic, data: _Operand, weights: _Operand, roles: Roles) -> tuple[Tensor, list[int]]:
    """The gradient of a filter: the roles of batch and channel, and of stride and dilation, change places."""
    sizes = op.spec.sizes
    outer = [window.outer for window in roles.windows]
    inner = [window.inner for window in roles.windows]
    source = _data(op, data, roles, [roles.channel, roles.group + roles.batch])
    gradient = _merge(op, weights, [roles.channel, roles.group + roles.feature, *([loop] for loop in inner)])
    shape = [prod(sizes[loop] for loop in roles.group + roles.feature), prod(sizes[loop] for loop in roles.batch)]
    filters = source.new_empty([*shape, *(sizes[loop] for loop in outer)])
    rank = len(outer)
    gradients = op.emit.call(
        torch.ops.aten.convolution_backward.default,
        gradient,
        source,
        filters,
        None,
        [window.dilation for window in roles.windows],
        [0] * rank,
        [window.stride for window in roles.windows],
        False,
        [0] * rank,
        prod(sizes[loop] for loop in roles.group),
        [False, True, False],
    )
    return gradients[1], [*roles.group, *roles.feature, *roles.batch, *outer]


def _data(op: Generic, data: _Operand, roles: Roles, groups: Sequence[Sequence[int]]) -> Tensor:
    """The data without the margins that no window reads: merged dimensions first, then the windows in order."""
    sizes = list(op.spec.sizes)
    tensor = data.tensor
    shape = op.spec.operands[data.number].shape
    for window in roles.windows:
        dim = _positions(op.spec.maps[data.number])[window.outer]
        last = (sizes[window.outer] - 1) * window.stride + (sizes[window.inner] - 1) * window.dilation
        sizes[window.outer] = last + 1
        if last + 1 != shape[dim]:
            tensor = tensor.narrow(dim, window.start, last + 1)
    return _arrange(tensor, op.spec.maps[data.number], [*groups, *([w.outer] for w in roles.windows)], sizes)


def _merge(op: Generic, operand: _Operand, groups: Sequence[Sequence[int]]) -> Tensor:
    return _arrange(operand.tensor, op.spec.maps[operand.number], groups, op.spec.sizes)


def _positions(map_: IndexingMap) -> dict[int, int]:
    """The dimension in which each loop appears."""
    return {loop: dim for dim, expr in enumerate(map_) if isinstance(expr, Linear) for loop, _ in expr.terms}


def _arrange(tensor: Tensor, map_: IndexingMap, groups: Sequence[Sequence[int]], sizes: Sequence[int]) -> Tensor:
    """Transpose so that the loops of each group are neighbours, and merge every group into one dimension."""
    position = _positions(map_)
    order = [position[loop] for group in groups for loop in group]
    order += [dim for dim in range(len(map_)) if dim not in order]
    if order != sorted(order):
        tensor = tensor.permute(order)
    return tensor.reshape([prod(sizes[loop] for loop in group) for group in groups])
