"""Up- and downsampling: copies where the factor is whole, else one product with a matrix of weights per dimension.

The matrices come from index arithmetic in the program, with PyTorch's rounding, so gradients are exact transposes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from jogak.ingress.dimensions import multiply_dimension, repeat_elements, split_dimension
from jogak.ingress.registry import Registry, widened

registry = Registry()
aten = torch.ops.aten

Matrix = Callable[[Tensor, int, int], Tensor]
"""From a tensor (its device and dtype), the old and the new size to the `[new, old]` weights."""


def _ratio(size: int, count: int, scale: float | None) -> float:
    return 1 / scale if scale else size / count


def _nearest(scale: float | None, center: float) -> Matrix:
    def matrix(like: Tensor, size: int, count: int) -> Tensor:
        new = torch.arange(count, device=like.device, dtype=like.dtype)
        source = ((new + center) * _ratio(size, count, scale)).floor().clamp(max=size - 1)
        old = torch.arange(size, device=like.device, dtype=like.dtype)
        return (source.unsqueeze(1) == old).to(like.dtype)

    return matrix


def _linear(scale: float | None, align_corners: bool) -> Matrix:
    def matrix(like: Tensor, size: int, count: int) -> Tensor:
        new = torch.arange(count, device=like.device, dtype=like.dtype)
        if align_corners:
            source = new * ((size - 1) / (count - 1) if count > 1 else 0.0)
        else:
            source = ((new + 0.5) * _ratio(size, count, scale) - 0.5).clamp(min=0.0)
        low = source.floor().clamp(max=size - 1)
        high = (low + 1).clamp(max=size - 1)
        share = (source - low).clamp(0.0, 1.0).unsqueeze(1)
        old = torch.arange(size, device=like.device, dtype=like.dtype)
        at_low, at_high = low.unsqueeze(1) == old, high.unsqueeze(1) == old
        return torch.where(at_low, 1 - share, 0.0) + torch.where(at_high, share, 0.0)

    return matrix


def _resample(x: Tensor, sizes: Sequence[int], matrices: Sequence[Matrix]) -> Tensor:
    for i, (count, matrix) in enumerate(zip(sizes, matrices, strict=True)):
        dimension = x.dim() - len(sizes) + i
        x = multiply_dimension(x, dimension, matrix(x, x.shape[dimension], count))
    return x


def _resample_gradient(grad: Tensor, sizes: Sequence[int], matrices: Sequence[Matrix]) -> Tensor:
    for i, (size, matrix) in enumerate(zip(sizes, matrices, strict=True)):
        dimension = grad.dim() - len(sizes) + i
        grad = multiply_dimension(grad, dimension, matrix(grad, size, grad.shape[dimension]).t())
    return grad


def _factors(old: Sequence[int], new: Sequence[int], scales: Sequence[float | None]) -> list[int] | None:
    """The whole factors of an enlargement, or None."""
    if any(
        count % size or scale not in (None, count / size) for size, count, scale in zip(old, new, scales, strict=True)
    ):
        return None
    return [count // size for size, count in zip(old, new, strict=True)]


def _copies(x: Tensor, factors: Sequence[int]) -> Tensor:
    for i, factor in enumerate(factors):
        x = repeat_elements(x, x.dim() - len(factors) + i, factor)
    return x


def _sum_copies(grad: Tensor, factors: Sequence[int]) -> Tensor:
    for i, factor in enumerate(factors):
        dimension = grad.dim() - len(factors) + i
        grad = split_dimension(grad, dimension, factor).sum(dimension + 1)
    return grad


def _upsample_nearest(
    self: Tensor, output_size: Sequence[int], scales: Sequence[float | None], center: float
) -> Tensor:
    factors = _factors(self.shape[2:], output_size, scales)
    if factors is not None:
        return _copies(self, factors)
    return _resample(widened(self), output_size, [_nearest(scale, center) for scale in scales]).to(self.dtype)


def _upsample_nearest_backward(
    grad_output: Tensor, input_size: Sequence[int], scales: Sequence[float | None], center: float
) -> Tensor:
    grad = widened(grad_output)
    factors = _factors(input_size[2:], grad.shape[2:], scales)
    if factors is not None:
        return _sum_copies(grad, factors).to(grad_output.dtype)
    matrices = [_nearest(scale, center) for scale in scales]
    return _resample_gradient(grad, input_size[2:], matrices).to(grad_output.dtype)


@registry(aten.upsample_nearest1d.default, aten.upsample_nearest2d.default, aten.upsample_nearest3d.default)
def upsample_nearest(self: Tensor, output_size: Sequence[int], *scales: float | None) -> Tensor:
    """Nearest neighbour."""
    return _upsample_nearest(self, output_size, scales or [None] * len(output_size), 0.0)


@registry(
    aten._upsample_nearest_exact1d.default,
    aten._upsample_nearest_exact2d.default,
    aten._upsample_nearest_exact3d.default,
)
def upsample_nearest_exact(self: Tensor, output_size: Sequence[int], *scales: float | None) -> Tensor:
    """Nearest neighbour of the pixel's center."""
    return _upsample_nearest(self, output_size, scales or [None] * len(output_size), 0.5)


@registry(
    aten.upsample_nearest1d_backward.default,
    aten.upsample_nearest2d_backward.default,
    aten.upsample_nearest3d_backward.default,
)
def upsample_nearest_backward(
    grad_output: Tensor, output_size: Sequence[int], input_size: Sequence[int], *scales: float | None
) -> Tensor:
    """Sum over the copies of each element."""
    return _upsample_nearest_backward(grad_output, input_size, scales or [None] * len(output_size), 0.0)


@registry(
    aten._upsample_nearest_exact1d_backward.default,
    aten._upsample_nearest_exact2d_backward.default,
    aten._upsample_nearest_exact3d_backward.default,
)
def upsample_nearest_exact_backward(
    grad_output: Tensor, output_size: Sequence[int], input_size: Sequence[int], *scales: float | None
) -> Tensor:
    """Sum over the copies of each element."""
    return _upsample_nearest_backward(grad_output, input_size, scales or [None] * len(output_size), 0.5)


@registry(aten.upsample_linear1d.default, aten.upsample_bilinear2d.default, aten.upsample_trilinear3d.default)
def upsample_linear(self: Tensor, output_size: Sequence[int], align_corners: bool, *scales: float | None) -> Tensor:
    """Linear interpolation along each dimension."""
    scales = scales or (None,) * len(output_size)
    return _resample(widened(self), output_size, [_linear(scale, align_corners) for scale in scales]).to(self.dtype)


@registry(
    aten.upsample_linear1d_backward.default,
    aten.upsample_bilinear2d_backward.default,
    aten.upsample_trilinear3d_backward.default,
)
def upsample_linear_backward(
    grad_output: Tensor,
    output_size: Sequence[int],
    input_size: Sequence[int],
    align_corners: bool,
    *scales: float | None,
) -> Tensor:
    """The transpose of `upsample_linear`."""
    scales = scales or (None,) * len(output_size)
    matrices = [_linear(scale, align_corners) for scale in scales]
    return _resample_gradient(widened(grad_output), input_size[2:], matrices).to(grad_output.dtype)
