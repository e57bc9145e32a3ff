"""Convolutions as torch-mlir lowers them best, transposed ones and gradients included.

Everything becomes a plain convolution (one linalg op whose maps name batch, channels and window) or, where windows
tile the input (patch embeddings and their inverse), a matrix product without any window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jogak.ingress.dimensions import along, split_dimension
from jogak.ingress.registry import Maybe, Registry
from jogak.ingress.windows import Sizes, dilate, expand_sizes, pad_or_crop

registry = Registry()
aten = torch.ops.aten


def _convolve(x: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Tensor:
    """A plain convolution; one-dimensional grouped ones as two-dimensional, which is the form that can be lowered."""
    if x.dim() == 3 and groups > 1:
        lifted = _convolve(x.unsqueeze(2), weight.unsqueeze(2), [1, *stride], [0, *padding], [1, *dilation], groups)
        return lifted.squeeze(2)
    rank = len(stride)
    result: Tensor = aten.convolution.default(x, weight, None, stride, padding, dilation, False, [0] * rank, groups)
    return result


def _tiles(kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> bool:
    """Whether the windows tile the input: neither overlap nor padding, and more than one element."""
    plain = groups == 1 and not any(padding) and all(d == 1 for d in dilation)
    return plain and list(kernel) == list(stride) and math.prod(kernel) > 1


def _patches(x: Tensor, kernel: Sizes) -> Tensor:
    """`[N, C, o*k, ...]` as `[N, o, ..., C*k*...]`; what does not fill a window is cut off."""
    rank = len(kernel)
    counts = [size // k for size, k in zip(x.shape[2:], kernel, strict=True)]
    x = pad_or_crop(x, [0] * rank, [n * k - size for n, k, size in zip(counts, kernel, x.shape[2:], strict=True)])
    split = x.reshape(*x.shape[:2], *[each for pair in zip(counts, kernel, strict=True) for each in pair])
    order = [0, *range(2, 2 + 2 * rank, 2), 1, *range(3, 3 + 2 * rank, 2)]
    return split.permute(order).reshape(x.shape[0], *counts, x.shape[1] * math.prod(kernel))


def _unpatch(patches: Tensor, channels: int, kernel: Sizes, sizes: Sizes) -> Tensor:
    """The inverse of `_patches`; zeros where nothing was."""
    rank = len(kernel)
    counts = list(patches.shape[1:-1])
    split = patches.reshape(patches.shape[0], *counts, channels, *kernel)
    order = [0, rank + 1, *[each for i in range(rank) for each in (1 + i, rank + 2 + i)]]
    full = [n * k for n, k in zip(counts, kernel, strict=True)]
    joined = split.permute(order).reshape(patches.shape[0], channels, *full)
    return pad_or_crop(joined, [0] * rank, [size - own for size, own in zip(sizes, full, strict=True)])


def _swap_channels(weight: Tensor, groups: int) -> Tensor:
    """`[O, I/g, ...]` as `[I, O/g, ...]` with the window reversed: the weight of the transposed map."""
    grouped = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:]).transpose(1, 2)
    swapped = grouped.reshape(groups * weight.shape[1], weight.shape[0] // groups, *weight.shape[2:])
    return _reversed_window(swapped) if math.prod(weight.shape[2:]) > 1 else swapped


def _reversed_window(weight: Tensor) -> Tensor:
    """The window back to front: a product with the exchange matrix shards, reversed indexing does not."""
    size = math.prod(weight.shape[2:])
    index = torch.arange(size, device=weight.device)
    exchange = (index + index.unsqueeze(1) == size - 1).to(weight.dtype)
    return (weight.flatten(2) @ exchange).reshape(weight.shape)


def _transposed(
    grad: Tensor, weight: Tensor, sizes: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Tensor:
    """The transposed map of the convolution with `weight`, onto an input of spatial `sizes`."""
    kernel, rank = list(weight.shape[2:]), len(stride)
    if _tiles(kernel, stride, padding, dilation, groups):
        columns = grad.movedim(1, -1) @ weight.reshape(weight.shape[0], -1)
        return _unpatch(columns, weight.shape[1], kernel, sizes)
    low = [d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True)]
    spread = dilate(grad, stride)
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    high = [size + r - before - own for size, r, before, own in zip(sizes, reach, low, spread.shape[2:], strict=True)]
    padded = pad_or_crop(spread, low, high)
    return _convolve(padded, _swap_channels(weight, groups), [1] * rank, [0] * rank, dilation, groups)


def _weight_gradient(
    grad: Tensor, x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Tensor:
    """The gradient of the weight: a convolution with `grad` as the window, the batch being contracted like channels."""
    if _tiles(kernel, stride, padding, dilation, groups):
        columns = _patches(x, kernel)
        product = grad.movedim(1, -1).flatten(0, -2).t() @ columns.flatten(0, -2)
        return product.reshape(grad.shape[1], x.shape[1], *kernel)
    if groups == 1 and math.prod(kernel) == 1 and not any(padding):
        columns = _subsampled(x, stride, grad.shape[2:]).movedim(1, -1).flatten(0, -2)
        return (grad.movedim(1, -1).flatten(0, -2).t() @ columns).reshape(grad.shape[1], x.shape[1], *kernel)
    batch, channels = x.shape[:2]
    grouped = x.reshape(batch, groups, channels // groups, *x.shape[2:]).transpose(0, 2)
    images = grouped.reshape(channels // groups, groups * batch, *x.shape[2:])
    numbers = zip(grad.shape[2:], kernel, stride, padding, dilation, x.shape[2:], strict=True)
    high = [(n - 1) * s + (k - 1) * d + 1 - p - size for n, k, s, p, d, size in numbers]
    if all(0 <= after < before for after, before in zip(high, padding, strict=True)):
        images, padding = pad_or_crop(images, padding, high), [0] * len(high)  # no window of the filter too many
    windows = _convolve(images, grad.transpose(0, 1), dilation, padding, stride, groups)
    extra = [k - own for k, own in zip(kernel, windows.shape[2:], strict=True)]
    return pad_or_crop(windows, [0] * len(extra), extra).transpose(0, 1)


def _subsampled(x: Tensor, stride: Sizes, counts: Sizes) -> Tensor:
    """The first of every `stride` elements of the last dimensions, `counts` of them: split, so that both shard."""
    for dimension, (step, count) in enumerate(zip(stride, counts, strict=True), start=2):
        missing = count * step - x.shape[dimension]
        if step > 1:
            last = [0] * (x.dim() - dimension - 1)
            x = pad_or_crop(x, [0, *last], [missing, *last])
            x = split_dimension(x, dimension, step).narrow(dimension + 1, 0, 1).squeeze(dimension + 1)
    return x


def _with_bias(out: Tensor, bias: Tensor | None) -> Tensor:
    return out if bias is None else out + along(bias, out.dim(), 1)


def _transposed_sizes(
    x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, output_padding: Sizes
) -> list[int]:
    numbers = zip(x.shape[2:], kernel, stride, padding, dilation, output_padding, strict=True)
    return [(n - 1) * s - 2 * p + d * (k - 1) + extra + 1 for n, k, s, p, d, extra in numbers]


@registry(aten.convolution.default)
def convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    transposed: bool,
    output_padding: Sizes,
    groups: int,
) -> Maybe:
    """The forms that are not plain: with a bias, transposed, tiling, one-dimensional and grouped."""
    rank = input.dim() - 2
    stride, padding, dilation = (expand_sizes(each, rank) for each in (stride, padding, dilation))
    kernel = list(weight.shape[2:])
    if transposed:
        sizes = _transposed_sizes(input, kernel, stride, padding, dilation, expand_sizes(output_padding, rank))
        return _with_bias(_transposed(input, weight, sizes, stride, padding, dilation, groups), bias)
    if _tiles(kernel, stride, padding, dilation, groups):
        out = _patches(input, kernel) @ weight.reshape(weight.shape[0], -1).t()
        return _with_bias(out.movedim(-1, 1), bias)
    if bias is None and not (rank == 1 and groups > 1):
        return NotImplemented
    return _with_bias(_convolve(input, weight, stride, padding, dilation, groups), bias)


@registry(aten.convolution_backward.default)
def convolution_backward(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    bias_sizes: Sizes | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    transposed: bool,
    output_padding: Sizes,
    groups: int,
    output_mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of input, weight and bias."""
    rank = input.dim() - 2
    stride, padding, dilation = (expand_sizes(each, rank) for each in (stride, padding, dilation))
    kernel, sizes = list(weight.shape[2:]), list(input.shape[2:])
    d_input = d_weight = None
    if output_mask[0] and transposed:
        d_input = _convolve(grad_output, weight, stride, padding, dilation, groups)
    elif output_mask[0]:
        d_input = _transposed(grad_output, weight, sizes, stride, padding, dilation, groups)
    if output_mask[1]:
        grad, x = (input, grad_output) if transposed else (grad_output, input)
        d_weight = _weight_gradient(grad, x, kernel, stride, padding, dilation, groups)
    d_bias = grad_output.sum([0, *range(2, grad_output.dim())]) if output_mask[2] else None
    return d_input, d_weight, d_bias
