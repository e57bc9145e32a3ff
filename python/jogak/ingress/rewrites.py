"""Replacements above autograd: functions of PyTorch that are traced as others, so that their gradients follow too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


def _edges(x: Tensor, dimension: int, low: int, high: int, mode: str) -> tuple[list[Tensor], list[Tensor]]:
    """What a padding that is no constant puts before and after one dimension."""
    size = x.shape[dimension]
    if mode == "replicate":
        return [x.narrow(dimension, 0, 1)] * low, [x.narrow(dimension, size - 1, 1)] * high
    before = [x.narrow(dimension, i, 1) for i in range(low, 0, -1)]
    return before, [x.narrow(dimension, size - 2 - i, 1) for i in range(high)]


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """`torch.nn.functional.pad`; reflections and replications as concatenations of slices, whose gradients are pads."""
    if mode == "constant":
        return torch.constant_pad_nd(input, list(pad), value or 0.0)
    if mode == "circular" or min(pad) < 0:
        result: Tensor = aten.pad.default(input, pad, mode, value)
        return result
    for i in range(len(pad) // 2):
        dimension = input.dim() - 1 - i
        if mode == "reflect" and max(pad[2 * i : 2 * i + 2]) >= input.shape[dimension]:
            raise ValueError(
                f"reflection of {max(pad[2 * i : 2 * i + 2])} elements from a size of {input.shape[dimension]}"
            )
        before, after = _edges(input, dimension, pad[2 * i], pad[2 * i + 1], mode)
        if before or after:
            input = torch.cat([*before, input, *after], dimension)
    return input


_FUNCTIONS: tuple[tuple[Any, str, Callable[..., Tensor]], ...] = (
    (torch.nn.functional, "scaled_dot_product_attention", plain_attention),
    (torch.nn.functional, "one_hot", one_hot),
    (torch._C._nn, "pad", pad),
    (torch, "batch_norm", batch_norm),
    (torch, "adaptive_avg_pool1d", _adaptive_pool(1)),
    (torch._C._nn, "adaptive_avg_pool2d", _adaptive_pool(2)),
    (torch._C._nn, "adaptive_avg_pool3d", _adaptive_pool(3)),
)
"""Namespace, name and replacement."""


def _by_function() -> dict[Any, Callable[..., Tensor]]:
    """The functions that users and exported graphs call, with their replacements."""
    table: dict[Any, Callable[..., Tensor]] = {}
    for space, name, replacement in _FUNCTIONS:
        table[getattr(space, name)] = replacement
        table[getattr(aten, name).default] = replacement
    return table


_REWRITES = _by_function()


class _Rewrites(TorchFunctionMode):
    """Replaces what the model calls itself."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _REWRITES.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def rewritten() -> Iterator[None]:
    """Apply the replacements inside the block.

    The mode sees calls by the model's own code. Calls by PyTorch's Python code run with the mode off, so the names that
    it looks up are replaced too. oneDNN is off, because with it PyTorch picks opaque ops (for an LSTM, say).
    """
    saved = [(space, name, getattr(space, name)) for space, name, _ in _FUNCTIONS]
    fused_kernels = torch._C._get_mkldnn_enabled()
    try:
        torch._C._set_mkldnn_enabled(False)
        for space, name, replacement in _FUNCTIONS:
            setattr(space, name, replacement)
        with _Rewrites():
            yield
    finally:
        torch._C._set_mkldnn_enabled(fused_kernels)
        for space, name, original in saved:
            setattr(space, name, original)
