"""Pooling and its gradients, without a scatter: shifted copies over the elements of the window.

A gradient is a sum over window positions of padded, dilated copies, and so shards over batch and channels like the
forward op does.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from jogak.ingress.dimensions import along, multiply_dimension, repeat_elements, split_dimension
from jogak.ingress.registry import Registry, widened
from jogak.ingress.windows import Sizes, expand_sizes, offsets, pad_or_crop, window_slice

registry = Registry()
aten = torch.ops.aten


def _span(count: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes) -> list[int]:
    """How far the windows reach in the padded input."""
    return [(n - 1) * s + (k - 1) * d + 1 for n, k, s, d in zip(count, kernel, stride, dilation, strict=True)]


def _high(x: Tensor, low: Sizes, span: Sizes) -> list[int]:
    sizes = x.shape[-len(low) :]
    return [total - before - size for total, before, size in zip(span, low, sizes, strict=True)]


def _gather_back(parts: Sequence[Tensor], at: Sequence[Sizes], stride: Sizes, low: Sizes, like: Tensor) -> Tensor:
    """Sum of the parts at their places in the input; what falls into its padding is left out.

    Dimension after dimension, from the last on: what lies at one place of the others is added first, so that along the
    first dimension there are as many copies as the window has elements there, and devices that split it exchange few.
    """
    level = dict(zip(map(tuple, at), parts, strict=True))
    for dim in reversed(range(len(low))):
        rows: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
        for offset, part in level.items():
            rows.setdefault(offset[:dim], []).append((offset[dim] - low[dim], part))
        dimension = like.dim() - len(low) + dim
        level = {
            before: _laid_along(row, dimension, stride[dim], like.shape[dimension]) for before, row in rows.items()
        }
    return level[()]


def _laid_along(row: Sequence[tuple[int, Tensor]], dimension: int, stride: int, size: int) -> Tensor:
    """Sum of parts along one dimension of the given size: element `i` of each at its offset plus `i * stride`.

    What has the same offset modulo the stride is added as it is, moved by whole strides; only the sums are interleaved.
    """
    steps = -(-size // stride)
    sums: dict[int, Tensor] = {}
    for offset, part in row:
        moved, phase = divmod(offset, stride)
        last = [0] * (part.dim() - dimension - 1)
        part = pad_or_crop(part, [moved, *last], [steps - moved - part.shape[dimension], *last])
        sums[phase] = sums[phase] + part if phase in sums else part
    if stride == 1:
        return sums[0]
    nothing = torch.zeros_like(next(iter(sums.values())))
    phases = [sums.get(phase, nothing) for phase in range(stride)]
    return torch.stack(phases, dimension + 1).flatten(dimension, dimension + 1).narrow(dimension, 0, size)


def _maximum_at(parts: Sequence[Tensor], largest: Tensor) -> list[Tensor]:
    """For each part where it is the first that equals the largest one."""
    taken: Tensor | None = None
    hits = []
    for part in parts:
        equal = part == largest
        hits.append(equal if taken is None else equal & ~taken)
        taken = equal if taken is None else taken | equal
    return hits


def _max_pool_gradient(
    grad: Tensor, x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes
) -> Tensor:
    """The gradient goes down dimension by dimension: to the first row with the largest maximum, then within that row.

    Maxima are taken from the last dimension to the first. So a window of 3 x 3 has 6 places to compare, not 9, and what
    overlapping windows send to one row is added before it is spread along the row.
    """
    count = list(grad.shape[-len(kernel) :])
    span = _span(count, kernel, stride, dilation)
    high = _high(x, padding, span)
    at = [[step * dilation[dim] for step in range(size)] for dim, size in enumerate(kernel)]
    largest, levels = x, []
    for dim in reversed(range(len(kernel))):
        rest = [0] * (len(kernel) - dim - 1)
        padded = pad_or_crop(largest, [padding[dim], *rest], [high[dim], *rest], -math.inf)
        sizes = padded.shape[padded.dim() - len(rest) :]
        parts = [
            window_slice(padded, [offset, *rest], [stride[dim], *[1] * len(rest)], [count[dim], *sizes])
            for offset in at[dim]
        ]
        below, largest = largest, functools.reduce(torch.maximum, parts)
        levels.append((dim, below.dim() - len(rest) - 1, parts, largest))
    for dim, dimension, parts, most in reversed(levels):
        hits = _maximum_at(parts, most)
        row = [(offset - padding[dim], torch.where(hit, grad, 0.0)) for offset, hit in zip(at[dim], hits, strict=True)]
        grad = _laid_along(row, dimension, stride[dim], x.shape[dimension])
    return grad


def _max_pool_backward(rank: int) -> Callable[..., Tensor]:
    def max_pool_backward(
        grad_output: Tensor,
        self: Tensor,
        kernel_size: Sizes,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
        ceil_mode: bool,
        indices: Tensor,
    ) -> Tensor:
        """The gradient goes to the first largest element of each window, which is found again from the input."""
        kernel = expand_sizes(kernel_size, rank)
        steps = expand_sizes(stride, rank) if stride else kernel
        return _max_pool_gradient(
            grad_output, self, kernel, steps, expand_sizes(padding, rank), expand_sizes(dilation, rank)
        )

    return max_pool_backward


registry(aten.max_pool2d_with_indices_backward.default)(_max_pool_backward(2))
registry(aten.max_pool3d_with_indices_backward.default)(_max_pool_backward(3))


def _window_sizes(
    count: int, size: int, kernel: int, stride: int, padding: int, with_padding: bool, like: Tensor
) -> Tensor:
    """Number of elements that the mean of each window along one dimension divides by."""
    start = torch.arange(count, device=like.device) * stride - padding
    end = (start + kernel).clamp(max=size + padding)
    if not with_padding:
        start, end = start.clamp(min=0), end.clamp(max=size)
    return (end - start).to(like.dtype)


def _divided(
    grad: Tensor, x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, with_padding: bool, divisor: int | None
) -> Tensor:
    if divisor is not None:
        return grad / divisor
    rank = len(kernel)
    for i in range(rank):
        dimension = grad.dim() - rank + i
        numbers = (grad.shape[dimension], x.shape[dimension], kernel[i], stride[i], padding[i])
        uniform = (numbers[0] - 1) * stride[i] + kernel[i] <= x.shape[dimension] + 2 * padding[i]
        if uniform and (with_padding or not padding[i]):
            grad = grad / kernel[i]
        else:
            grad = grad / along(_window_sizes(*numbers, with_padding, grad), grad.dim(), dimension)
    return grad


def _avg_pool_backward(rank: int) -> Callable[..., Tensor]:
    def avg_pool_backward(
        grad_output: Tensor,
        self: Tensor,
        kernel_size: Sizes,
        stride: Sizes,
        padding: Sizes,
        ceil_mode: bool,
        count_include_pad: bool,
        divisor_override: int | None,
    ) -> Tensor:
        """Every element of a window gets an equal share of its gradient."""
        kernel, low, ones = expand_sizes(kernel_size, rank), expand_sizes(padding, rank), [1] * rank
        steps = expand_sizes(stride, rank) if stride else kernel
        grad = _divided(widened(grad_output), self, kernel, steps, low, count_include_pad, divisor_override)
        at = list(offsets(kernel, ones))
        return _gather_back([grad] * len(at), at, steps, low, self).to(self.dtype)

    return avg_pool_backward


registry(aten.avg_pool2d_backward.default)(_avg_pool_backward(2))
registry(aten.avg_pool3d_backward.default)(_avg_pool_backward(3))


def _adaptive_matrix(size: int, count: int, like: Tensor) -> Tensor:
    """`[count, size]`: the share of each element in the mean of each adaptive window."""
    o, i = torch.arange(count, device=like.device).unsqueeze(1), torch.arange(size, device=like.device)
    start, end = (o * size) // count, ((o + 1) * size + count - 1) // count
    share = 1.0 / (end - start).to(like.dtype)
    return torch.where((i >= start) & (i < end), share, 0.0)


@registry(aten._adaptive_avg_pool2d.default, aten._adaptive_avg_pool3d.default)
def adaptive_avg_pool(self: Tensor, output_size: Sizes) -> Tensor:
    """A mean where the windows tile the input, else a product with the matrix of shares, per dimension."""
    x = widened(self)
    for i, count in enumerate(output_size):
        dimension = x.dim() - len(output_size) + i
        size = x.shape[dimension]
        if size % count == 0:
            x = split_dimension(x, dimension, size // count).mean(dimension + 1)
        else:
            x = multiply_dimension(x, dimension, _adaptive_matrix(size, count, x))
    return x.to(self.dtype)


@registry(aten._adaptive_avg_pool2d_backward.default, aten._adaptive_avg_pool3d_backward.default)
def adaptive_avg_pool_backward(grad_output: Tensor, self: Tensor) -> Tensor:
    """The transpose of `adaptive_avg_pool`."""
    grad, rank = widened(grad_output), 2 if self.dim() < 5 else 3
    for dimension in range(self.dim() - rank, self.dim()):
        size, count = self.shape[dimension], grad.shape[dimension]
        if size % count == 0:
            grad = repeat_elements(grad / (size // count), dimension, size // count)
        else:
            grad = multiply_dimension(grad, dimension, _adaptive_matrix(size, count, grad).t())
    return grad.to(self.dtype)
