"""Normalizations and variance: two passes (the mean, then the mean of squares around it) in the tensor's own type.

torch-mlir would compute a variance in f64. Statistics of bf16 and f16 tensors are taken in f32, as PyTorch does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jogak.ingress.dimensions import along
from jogak.ingress.registry import Maybe, Registry, widened

registry = Registry()
aten = torch.ops.aten


def _moments(x: Tensor, dims: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance (both with the reduced dimensions kept at size 1), and the values around the mean."""
    mean = x.mean(list(dims), keepdim=True)
    centered = x - mean
    return mean, (centered * centered).mean(list(dims), keepdim=True), centered


def _variance(x: Tensor, dim: Sequence[int] | None, correction: float | None, keepdim: bool) -> tuple[Tensor, Tensor]:
    dims = [d % x.dim() for d in dim] if dim else list(range(x.dim()))
    wide = widened(x)
    mean, biased, _ = _moments(wide, dims)
    count = math.prod(x.shape[d] for d in dims)
    variance = biased * _unbiasing(count, 1 if correction is None else correction)
    if not keepdim:
        mean, variance = (each.squeeze(dims) for each in (mean, variance))
    return variance.to(x.dtype), mean.to(x.dtype)


def _unbiasing(count: int, correction: float) -> float:
    """`count / (count - correction)`: from the biased variance to the corrected one; NaN without degrees of freedom."""
    if count > correction:
        return count / (count - correction)
    return math.nan


@registry(aten.var.correction)
def var(
    self: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    """Variance."""
    return _variance(self, dim, correction, keepdim)[0]


@registry(aten.std.correction)
def std(
    self: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    """Standard deviation."""
    return _variance(self, dim, correction, keepdim)[0].sqrt()


@registry(aten.var_mean.correction)
def var_mean(
    self: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """Variance and mean."""
    return _variance(self, dim, correction, keepdim)


@registry(aten.native_layer_norm.default)
def layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Layer normalization over the last dimensions; also the mean and 1/sqrt(variance + eps)."""
    x = widened(input)
    dims = list(range(x.dim() - len(normalized_shape), x.dim()))
    mean, variance, centered = _moments(x, dims)
    rstd = torch.rsqrt(variance + eps)
    out = centered * rstd
    if weight is not None:
        out = out * weight
    if bias is not None:
        out = out + bias
    return out.to(input.dtype), mean, rstd


@registry(aten.native_layer_norm_backward.default)
def layer_norm_backward(
    grad_out: Tensor,
    input: Tensor,
    normalized_shape: Sequence[int],
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    output_mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of input, weight and bias."""
    x, grad = widened(input), widened(grad_out)
    outer = list(range(x.dim() - len(normalized_shape)))
    inner = list(range(len(outer), x.dim()))
    normal = (x - mean) * rstd
    scaled = grad if weight is None else grad * weight
    d_input = _centered_gradient(scaled, normal, rstd, inner) if output_mask[0] else None
    d_weight = _sum(grad * normal, outer) if output_mask[1] and weight is not None else None
    d_bias = _sum(grad, outer) if output_mask[2] and bias is not None else None
    return _as(d_input, input), _as(d_weight, weight), _as(d_bias, bias)


def _sum(value: Tensor, dims: Sequence[int]) -> Tensor:
    return value.sum(list(dims)) if dims else value


def _as(value: Tensor | None, like: Tensor | None) -> Tensor | None:
    return None if value is None or like is None else value.to(like.dtype)


def _centered_gradient(grad: Tensor, normal: Tensor, rstd: Tensor, dims: Sequence[int]) -> Tensor:
    """Gradient of the input of a normalization to mean 0 and variance 1 over `dims`.

    Args:
        rstd: what the normalized values were multiplied by, a weight that does not vary over `dims` included.
    """
    mean_grad = grad.mean(list(dims), keepdim=True)
    mean_product = (grad * normal).mean(list(dims), keepdim=True)
    return (grad - mean_grad - normal * mean_product) * rstd


def _channels(value: Tensor | None, rank: int) -> Tensor | None:
    return None if value is None else along(value, rank, 1)


def _affine(normal: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    scaled = normal if weight is None else normal * weight
    return scaled if bias is None else scaled + bias


def _not_channel(x: Tensor) -> list[int]:
    return [d for d in range(x.dim()) if d != 1]


def _shifted_moments(x: Tensor, dims: Sequence[int], near: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What `_moments` gives, from two sums that do not need each other: of `x - near` and of its square.

    When the batch is split they are one collective instead of two behind each other. `near` is a guess of the mean: the
    closer it is, the less cancels in the variance (Chan, Golub and LeVeque, "Algorithms for Computing the Sample
    Variance", 1983).
    """
    moved = x - near
    first = moved.mean(list(dims), keepdim=True)
    variance = ((moved * moved).mean(list(dims), keepdim=True) - first * first).clamp(min=0.0)
    return near + first, variance, moved - first


def _batch_statistics(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, near: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Output, mean, 1/sqrt(variance + eps) and biased variance of a batch, the last three by channel.

    Args:
        near: a guess of the mean, by channel.
    """
    x = widened(input)
    dims = _not_channel(x)
    guess = None if near is None else along(widened(near), x.dim(), 1)
    mean, variance, centered = _moments(x, dims) if guess is None else _shifted_moments(x, dims, guess)
    rstd = torch.rsqrt(variance + eps)
    out = _affine(centered * rstd, _channels(weight, x.dim()), _channels(bias, x.dim()))
    mean, rstd, variance = (each.squeeze(_not_channel(x)) for each in (mean, rstd, variance))
    return out.to(input.dtype), mean, rstd, variance


@registry(aten._native_batch_norm_legit_functional.default)
def batch_norm_training(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Batch normalization by the batch's own statistics, which also move the running ones (variance unbiased)."""
    if not training:
        out, mean, rstd = batch_norm_inference(input, weight, bias, running_mean, running_var, momentum, eps)
        return out, mean, rstd, running_mean.clone(), running_var.clone()
    out, mean, rstd, variance = _batch_statistics(input, weight, bias, eps, running_mean)
    count = input.numel() // input.shape[1]
    unbiased = variance * (count / (count - 1))
    moved_mean = mean * momentum + running_mean * (1 - momentum)
    moved_variance = unbiased * momentum + running_var * (1 - momentum)
    return out, mean, rstd, moved_mean.to(running_mean.dtype), moved_variance.to(running_var.dtype)


@registry(aten._native_batch_norm_legit.no_stats)
def batch_norm_no_stats(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, training: bool, momentum: float, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch normalization without running statistics."""
    return _batch_statistics(input, weight, bias, eps)[:3]


@registry(aten._native_batch_norm_legit_no_training.default)
def batch_norm_inference(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch normalization by the running statistics."""
    x, rank = widened(input), input.dim()
    rstd = torch.rsqrt(widened(running_var) + eps)
    normal = (x - along(widened(running_mean), rank, 1)) * along(rstd, rank, 1)
    out = _affine(normal, _channels(weight, rank), _channels(bias, rank))
    return out.to(input.dtype), input.new_empty([0]), input.new_empty([0])


@registry(aten.native_batch_norm.default)
def batch_norm_unchanged(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Maybe:
    """Batch normalization that changes no running statistics; the form that would change them is refused later."""
    if training:
        return NotImplemented if running_mean is not None else _batch_statistics(input, weight, bias, eps)[:3]
    assert running_mean is not None
    assert running_var is not None
    return batch_norm_inference(input, weight, bias, running_mean, running_var, momentum, eps)


@registry(aten.native_batch_norm_backward.default)
def batch_norm_backward(
    grad_out: Tensor,
    input: Tensor,
    weight: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    save_mean: Tensor | None,
    save_invstd: Tensor | None,
    train: bool,
    eps: float,
    output_mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of input, weight and bias."""
    x, grad, rank, dims = widened(input), widened(grad_out), input.dim(), _not_channel(input)
    if train:
        assert save_mean is not None
        assert save_invstd is not None
        mean, rstd = along(save_mean, rank, 1), along(save_invstd, rank, 1)
    else:
        assert running_mean is not None
        assert running_var is not None
        mean, rstd = along(widened(running_mean), rank, 1), along(torch.rsqrt(widened(running_var) + eps), rank, 1)
    normal = (x - mean) * rstd
    scale = rstd if weight is None else rstd * along(weight, rank, 1)
    d_input = (_centered_gradient(grad, normal, scale, dims) if train else grad * scale) if output_mask[0] else None
    d_weight = (grad * normal).sum(dims) if output_mask[1] else None
    d_bias = grad.sum(dims) if output_mask[2] else None
    like = weight if weight is not None else grad
    return _as(d_input, input), _as(d_weight, like), _as(d_bias, like)


def _grouped(value: Tensor, groups: int) -> Tensor:
    return value.reshape(value.shape[0], groups, value.shape[1] // groups, *value.shape[2:])


def _by_group(value: Tensor, groups: int, rank: int) -> Tensor:
    """A vector over channels, `[1, groups, channels of a group, 1, ...]`."""
    return value.reshape(1, groups, value.shape[0] // groups, *[1] * (rank - 3))


@registry(aten.native_group_norm.default)
def group_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, N: int, C: int, HxW: int, group: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalization over groups of channels and all positions; also mean and 1/sqrt(variance + eps), `[N, group]`."""
    x = widened(_grouped(input, group))
    dims = list(range(2, x.dim()))
    mean, variance, centered = _moments(x, dims)
    rstd = torch.rsqrt(variance + eps)
    scale = None if weight is None else _by_group(weight, group, x.dim())
    shift = None if bias is None else _by_group(bias, group, x.dim())
    out = _affine(centered * rstd, scale, shift)
    return out.reshape(input.shape).to(input.dtype), mean.squeeze(dims), rstd.squeeze(dims)


@registry(aten.native_group_norm_backward.default)
def group_norm_backward(
    grad_out: Tensor,
    input: Tensor,
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    N: int,
    C: int,
    HxW: int,
    group: int,
    output_mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of input, weight and bias."""
    x, grad = widened(_grouped(input, group)), widened(_grouped(grad_out, group))
    rank, dims = x.dim(), list(range(2, x.dim()))
    rstd = widened(rstd).view(N, group, *[1] * (rank - 2))
    normal = (x - widened(mean).view(N, group, *[1] * (rank - 2))) * rstd
    scaled = grad if weight is None else grad * _by_group(weight, group, rank)
    over = [0, *range(3, rank)]
    d_input = _centered_gradient(scaled, normal, rstd, dims).reshape(input.shape) if output_mask[0] else None
    d_weight = (grad * normal).sum(over).reshape(C) if output_mask[1] else None
    d_bias = grad.sum(over).reshape(C) if output_mask[2] else None
    return _as(d_input, input), _as(d_weight, weight if weight is not None else input), _as(d_bias, input)
