"""Sliding windows by pads and slices: batch and channel dimensions are left alone, so that they stay shardable."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

Sizes = Sequence[int]


def expand_sizes(values: Sizes, rank: int) -> list[int]:
    """One value per spatial dimension: a single one counts for all."""
    return list(values) * rank if len(values) == 1 else list(values)


def pad_or_crop(x: Tensor, low: Sizes, high: Sizes, value: float = 0.0) -> Tensor:
    """Pad the last dimensions with `value`; a negative amount crops, also more than there is."""
    first = x.dim() - len(low)
    amounts: list[int] = []
    for i, (before, after) in enumerate(zip(low, high, strict=True)):
        size = x.shape[first + i]
        total = size + before + after
        start = min(max(-before, 0), size)
        kept = max(min(size + after, size) - start, 0)
        if kept < size:
            x = x.narrow(first + i, start, kept)
        padding = min(max(before, 0), total)
        amounts = [padding, total - padding - kept, *amounts]
    return torch.constant_pad_nd(x, amounts, value) if any(amounts) else x


def dilate(x: Tensor, steps: Sizes) -> Tensor:
    """Put `step - 1` zeros after every element of each of the last dimensions: size `n` becomes `n * step`."""
    rank = len(steps)
    if all(step == 1 for step in steps):
        return x
    outer, sizes = list(x.shape[:-rank]), list(x.shape[-rank:])
    interleaved = [each for size in sizes for each in (size, 1)]
    amounts = [each for step in reversed(steps) for each in (0, step - 1, 0, 0)]
    spread = torch.constant_pad_nd(x.reshape(outer + interleaved), amounts, 0.0)
    return spread.reshape(outer + [size * step for size, step in zip(sizes, steps, strict=True)])


def offsets(kernel: Sizes, dilation: Sizes) -> Iterator[tuple[int, ...]]:
    """The position of each element of a window relative to its first, row-major."""
    for index in itertools.product(*map(range, kernel)):
        yield tuple(i * d for i, d in zip(index, dilation, strict=True))


def window_slice(x: Tensor, offset: Sizes, stride: Sizes, count: Sizes) -> Tensor:
    """The element at `offset` of every window: a strided slice of the last dimensions."""
    first = x.dim() - len(offset)
    for i, (start, step, size) in enumerate(zip(offset, stride, count, strict=True)):
        x = torch.ops.aten.slice.Tensor(x, first + i, start, start + (size - 1) * step + 1, step)
    return x


def place(x: Tensor, offset: Sizes, stride: Sizes, size: Sizes) -> Tensor:
    """The transpose of `window_slice`: each element at its position in a tensor of zeros of the given size."""
    spread = dilate(x, stride)
    inner = spread.shape[-len(size) :]
    high = [total - start - own for total, start, own in zip(size, offset, inner, strict=True)]
    return pad_or_crop(spread, offset, high)
