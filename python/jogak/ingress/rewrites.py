"""Replacements above autograd: functions of PyTorch that are traced as other functions, so that gradients follow too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from jogak.ingress.attention import plain_attention
from jogak.ingress.decompose_pooling import adaptive_avg_pool
from jogak.ingress.windows import expand_sizes

aten = torch.ops.aten


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """`torch.nn.functional.one_hot` by comparison with the class indices; the number of classes must be given."""
    if num_classes < 0:
        raise ValueError("one_hot needs num_classes: it would otherwise depend on the values of the tensor")
    classes = torch.arange(num_classes, device=tensor.device)
    return (tensor.unsqueeze(-1) == classes).to(torch.int64)


def batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = False,
) -> Tensor:
    """`torch.batch_norm` by the ops whose schema tells that they change the running statistics."""
    if not training:
        result = aten.native_batch_norm.default(input, weight, bias, running_mean, running_var, False, momentum, eps)
    elif running_mean is None or running_var is None:
        result = aten._native_batch_norm_legit.no_stats(input, weight, bias, True, momentum, eps)
    else:
        result = aten._native_batch_norm_legit.default(
            input, weight, bias, running_mean, running_var, True, momentum, eps
        )
    out: Tensor = result[0]
    return out


def _adaptive_pool(rank: int) -> Callable[..., Tensor]:
    """`torch.adaptive_avg_poolNd`; PyTorch's own would restride its result."""

    def adaptive_pool(input: Tensor, output_size: int | Sequence[int]) -> Tensor:
        sizes = [output_size] * rank if isinstance(output_size, int) else list(output_size)
        return adaptive_avg_pool(input, expand_sizes(sizes, rank))

    return adaptive_pool


_REWRITES: dict[Any, Callable[..., Tensor]] = {
    torch.nn.functional.scaled_dot_product_attention: plain_attention,
    aten.scaled_dot_product_attention.default: plain_attention,
    torch.nn.functional.one_hot: one_hot,
    aten.one_hot.default: one_hot,
    torch.batch_norm: batch_norm,
    aten.batch_norm.default: batch_norm,
    torch.adaptive_avg_pool1d: _adaptive_pool(1),
    aten.adaptive_avg_pool1d.default: _adaptive_pool(1),
    torch._C._nn.adaptive_avg_pool2d: _adaptive_pool(2),
    aten.adaptive_avg_pool2d.default: _adaptive_pool(2),
    torch._C._nn.adaptive_avg_pool3d: _adaptive_pool(3),
    aten.adaptive_avg_pool3d.default: _adaptive_pool(3),
}


class Rewrites(TorchFunctionMode):
    """Applies the replacements to everything that runs inside it."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _REWRITES.get(func, func)(*args, **(kwargs or {}))
