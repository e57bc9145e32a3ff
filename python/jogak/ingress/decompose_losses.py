"""Softmax, and losses that pick a class: labels are compared with class indices, never used to gather or scatter.

The comparison is an elementwise op over positions and classes, so it shards over both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jogak.ingress.dimensions import along, positions
from jogak.ingress.registry import Registry, widened

registry = Registry()
aten = torch.ops.aten

_NONE, _MEAN = 0, 1


@registry(aten._softmax.default)
def softmax(self: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """Softmax in at least f32, the maximum subtracted first."""
    x = widened(self)
    exponential = torch.exp(x - x.amax(dim).unsqueeze(dim))
    result = exponential / exponential.sum(dim, keepdim=True)
    return result if half_to_float else result.to(self.dtype)


@registry(aten._log_softmax.default)
def log_softmax(self: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """Logarithm of the softmax in at least f32, the maximum subtracted first."""
    x = widened(self)
    shifted = x - x.amax(dim).unsqueeze(dim)
    result = shifted - torch.exp(shifted).sum(dim, keepdim=True).log()
    return result if half_to_float else result.to(self.dtype)


@registry(aten._softmax_backward_data.default)
def softmax_backward(grad_output: Tensor, output: Tensor, dim: int, input_dtype: torch.dtype) -> Tensor:
    """`y * (g - sum(g * y))`."""
    grad, y = widened(grad_output), widened(output)
    product = grad * y
    return (product - y * product.sum(dim, keepdim=True)).to(input_dtype)


@registry(aten._log_softmax_backward_data.default)
def log_softmax_backward(grad_output: Tensor, output: Tensor, dim: int, input_dtype: torch.dtype) -> Tensor:
    """`g - exp(y) * sum(g)`."""
    grad = widened(grad_output)
    return (grad - torch.exp(widened(output)) * grad.sum(dim, keepdim=True)).to(input_dtype)


def _picked(like: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """Whether a class is the label of its position, ignored labels aside: `[N, C, ...]` from `[N, ...]`."""
    dimension = 1 if like.dim() > 1 else 0
    mask = positions(like, dimension) == target.unsqueeze(dimension)
    if 0 <= ignore_index < like.shape[dimension]:
        mask = mask & (target != ignore_index).unsqueeze(dimension)
    return mask


def _class_weights(like: Tensor, weight: Tensor | None) -> Tensor | None:
    return None if weight is None else along(weight, like.dim(), 1 if like.dim() > 1 else 0)


@registry(aten.nll_loss_forward.default, aten.nll_loss2d_forward.default)
def nll_loss_forward(
    self: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of the labels, and the total weight that a mean divides by."""
    x = widened(self)
    dimension = 1 if x.dim() > 1 else 0
    mask, weights = _picked(self, target, ignore_index), _class_weights(self, weight)
    total = (target != ignore_index).to(x.dtype).sum() if weights is None else torch.where(mask, weights, 0.0).sum()
    losses = -torch.where(mask, x if weights is None else x * weights, 0.0)
    if reduction == _NONE and self.dim() > 1:
        return losses.sum(dimension).to(self.dtype), self.new_zeros([])
    summed = losses.sum()
    return (summed / total if reduction == _MEAN else summed).to(self.dtype), total.to(self.dtype)


@registry(aten.nll_loss_backward.default, aten.nll_loss2d_backward.default)
def nll_loss_backward(
    grad_output: Tensor,
    self: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: int,
    ignore_index: int,
    total_weight: Tensor,
) -> Tensor:
    """The gradient: `-weight / total` at the label of each position, 0 elsewhere."""
    mask, weights = _picked(self, target, ignore_index), _class_weights(self, weight)
    grad = grad_output / total_weight if reduction == _MEAN else grad_output
    if reduction == _NONE and self.dim() > 1:
        grad = grad.unsqueeze(1)
    return torch.where(mask, -grad if weights is None else -grad * weights, 0.0).to(self.dtype)
