"""Embeddings, slices and masks: gradients as pads and additions, masks as comparisons of indices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jogak.ingress.dimensions import positions
from jogak.ingress.registry import Maybe, Registry, widened
from jogak.ingress.windows import place

registry = Registry()
aten = torch.ops.aten


@registry(aten.embedding_dense_backward.default)
def embedding_dense_backward(
    grad_output: Tensor, indices: Tensor, num_weights: int, padding_idx: int, scale_grad_by_freq: bool
) -> Tensor:
    """Rows are added where their index says, in f32; the row of `padding_idx` gets nothing."""
    grad = widened(grad_output)
    width = grad.shape[-1]
    if scale_grad_by_freq:
        ones = torch.ones(indices.shape, dtype=grad.dtype, device=grad.device).reshape(-1, 1)
        counts = aten.index_put.default(ones.new_zeros([num_weights, 1]), [indices.reshape(-1)], ones, True)
        grad = grad / aten.embedding.default(counts, indices)
    if padding_idx >= 0:
        grad = torch.where((indices == padding_idx).unsqueeze(-1), 0.0, grad)
    zeros = grad.new_zeros([num_weights, width])
    rows: Tensor = aten.index_put.default(zeros, [indices.reshape(-1)], grad.reshape(-1, width), True)
    return rows.to(grad_output.dtype)


@registry(aten.index_put.default)
def index_put(self: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False) -> Maybe:
    """One index that is not the first: its dimension is moved to the front, the only form that can be lowered."""
    places = [i for i, index in enumerate(indices) if index is not None]
    if len(places) != 1 or places[0] == 0:
        return NotImplemented
    dimension, index = places[0], indices[places[0]]
    assert index is not None
    shape = [*self.shape[:dimension], *index.shape, *self.shape[dimension + 1 :]]
    moved = values.expand(shape).flatten(dimension, dimension + index.dim() - 1).movedim(dimension, 0)
    result = aten.index_put.default(self.movedim(dimension, 0), [index.reshape(-1)], moved, accumulate)
    return result.movedim(0, dimension)


@registry(aten.slice_backward.default)
def slice_backward(
    grad_output: Tensor, input_sizes: Sequence[int], dim: int, start: int, end: int, step: int
) -> Tensor:
    """The gradient between zeros: a pad, after dilation where the slice has a step."""
    dim = dim % len(input_sizes)
    size = input_sizes[dim]
    start = min(max(start + size if start < 0 else start, 0), size)
    trailing = len(input_sizes) - 1 - dim
    if step == 1:
        amounts = [0, 0] * trailing + [start, size - start - grad_output.shape[dim]]
        return torch.constant_pad_nd(grad_output, amounts, 0.0)
    return place(grad_output, [start, *[0] * trailing], [step, *[1] * trailing], [size, *input_sizes[dim + 1 :]])


@registry(aten.select_backward.default)
def select_backward(grad_output: Tensor, input_sizes: Sequence[int], dim: int, index: int) -> Tensor:
    """The gradient between zeros: a pad."""
    dim = dim % len(input_sizes)
    index = index % input_sizes[dim]
    amounts = [0, 0] * (len(input_sizes) - 1 - dim) + [index, input_sizes[dim] - index - 1]
    return torch.constant_pad_nd(grad_output.unsqueeze(dim), amounts, 0.0)


@registry(aten.triu.default)
def triu(self: Tensor, diagonal: int = 0) -> Tensor:
    """Upper triangle, by comparing indices."""
    kept = positions(self, -1) - positions(self, -2) >= diagonal
    return kept & self if self.dtype == torch.bool else torch.where(kept, self, 0)


@registry(aten.tril.default)
def tril(self: Tensor, diagonal: int = 0) -> Tensor:
    """Lower triangle, by comparing indices."""
    kept = positions(self, -1) - positions(self, -2) <= diagonal
    return kept & self if self.dtype == torch.bool else torch.where(kept, self, 0)


@registry(aten.masked_fill.Scalar)
def masked_fill_scalar(self: Tensor, mask: Tensor, value: float) -> Tensor:
    """Select the value where the mask holds."""
    return torch.where(mask, torch.full((), value, dtype=self.dtype, device=self.device), self)


@registry(aten.masked_fill.Tensor)
def masked_fill_tensor(self: Tensor, mask: Tensor, value: Tensor) -> Tensor:
    """Select the value where the mask holds."""
    return torch.where(mask, value.to(self.dtype), self)


@registry(aten.split.Tensor)
def split(self: Tensor, split_size: int, dim: int = 0) -> list[Tensor]:
    """Slices of one size; the last may be smaller."""
    size = self.shape[dim]
    return [self.narrow(dim, start, min(split_size, size - start)) for start in range(0, size, split_size)]


@registry(aten.split_with_sizes.default)
def split_with_sizes(self: Tensor, split_sizes: Sequence[int], dim: int = 0) -> list[Tensor]:
    """Slices of the given sizes."""
    starts = [sum(split_sizes[:i]) for i in range(len(split_sizes))]
    return [self.narrow(dim, start, size) for start, size in zip(starts, split_sizes, strict=True)]


@registry(aten.unbind.int)
def unbind(self: Tensor, dim: int = 0) -> list[Tensor]:
    """Every slice of a dimension, without it."""
    return [self.select(dim, i) for i in range(self.shape[dim])]


@registry(aten.roll.default)
def roll(self: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Tensor:
    """For each dimension its two parts in the other order; without dimensions, the flattened tensor is rolled."""
    if not dims:
        return roll(self.reshape(-1), shifts, [0]).reshape(self.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        size = self.shape[dim]
        moved = shift % size if size else 0
        if moved:
            parts = [self.narrow(dim, size - moved, moved), self.narrow(dim, 0, size - moved)]
            self = torch.cat(parts, dim)
    return self.clone() if not any(shifts) else self
