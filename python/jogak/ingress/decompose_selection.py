"""Maxima with their indices, top-k, and gathers of few elements: as reductions and comparisons with indices.

A reduction over pairs (value, index) cannot be sharded along the reduced dimension; a maximum, and the smallest index
that attains it, can. A gather of a few elements per row compares indices instead of addressing memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from jogak.ingress.dimensions import positions
from jogak.ingress.registry import Maybe, Registry

registry = Registry()
aten = torch.ops.aten

FEW = 8
"""Up to so many elements per row a gather, scatter or top-k is unrolled into comparisons."""


def _keep(value: Tensor, dims: Sequence[int], rank: int) -> Tensor:
    for dim in sorted(d % rank for d in dims):
        value = value.unsqueeze(dim)
    return value


@registry(aten.amax.default)
def amax(self: Tensor, dim: Sequence[int] = (), keepdim: bool = False) -> Maybe:
    """Kept dimensions are put back after the reduction: the reduction itself stays a plain one."""
    if not keepdim:
        return NotImplemented
    dims = list(dim) or list(range(self.dim()))
    return _keep(self.amax(dims), dims, self.dim())


@registry(aten.amin.default)
def amin(self: Tensor, dim: Sequence[int] = (), keepdim: bool = False) -> Maybe:
    """Kept dimensions are put back after the reduction: the reduction itself stays a plain one."""
    if not keepdim:
        return NotImplemented
    dims = list(dim) or list(range(self.dim()))
    return _keep(self.amin(dims), dims, self.dim())


def _first_equal(x: Tensor, extreme: Tensor, dim: int) -> Tensor:
    """The smallest index along `dim` at which `x` equals `extreme` (which lacks that dimension)."""
    return torch.where(x == extreme.unsqueeze(dim), positions(x, dim), x.shape[dim]).amin(dim)


@registry(aten.max.dim)
def max_dim(self: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Maximum, and the first index that attains it."""
    values = self.amax(dim)
    indices = _first_equal(self, values, dim)
    return (values.unsqueeze(dim), indices.unsqueeze(dim)) if keepdim else (values, indices)


@registry(aten.min.dim)
def min_dim(self: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Minimum, and the first index that attains it."""
    values = self.amin(dim)
    indices = _first_equal(self, values, dim)
    return (values.unsqueeze(dim), indices.unsqueeze(dim)) if keepdim else (values, indices)


def _index_of(extreme: Callable[..., tuple[Tensor, Tensor]], self: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    if dim is not None:
        return extreme(self, dim, keepdim)[1]
    flat = extreme(self.reshape(-1), 0)[1]
    return flat.reshape([1] * self.dim()) if keepdim else flat


@registry(aten.argmax.default)
def argmax(self: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """First index of the maximum."""
    return _index_of(max_dim, self, dim, keepdim)


@registry(aten.argmin.default)
def argmin(self: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """First index of the minimum."""
    return _index_of(min_dim, self, dim, keepdim)


@registry(aten.topk.default)
def topk(self: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Maybe:
    """Few elements: as many rounds of taking the extreme and its first index, and hiding it."""
    if not 0 < k <= FEW or not self.is_floating_point():
        return NotImplemented
    rest, values, indices = self, [], []
    hidden = -torch.inf if largest else torch.inf
    for _ in range(k):
        value, index = max_dim(rest, dim) if largest else min_dim(rest, dim)
        values.append(value)
        indices.append(index)
        rest = torch.where(positions(rest, dim) == index.unsqueeze(dim), hidden, rest)
    return torch.stack(values, dim), torch.stack(indices, dim)


def _columns(index: Tensor, dim: int) -> list[Tensor]:
    return [index.narrow(dim, i, 1) for i in range(index.shape[dim])]


def _few(self: Tensor, dim: int, index: Tensor) -> bool:
    """Whether rows of `index` are short, and its other dimensions those of `self`."""
    if not self.dim() or index.shape[dim] > FEW:
        return False
    dim = dim % self.dim()
    return all(a == b for d, (a, b) in enumerate(zip(self.shape, index.shape, strict=True)) if d != dim)


@registry(aten.gather.default)
def gather(self: Tensor, dim: int, index: Tensor, sparse_grad: bool = False) -> Maybe:
    """Few elements per row: the sum over the row of what is at the index and 0 elsewhere."""
    if not _few(self, dim, index):
        return NotImplemented
    where = positions(self, dim)
    picked = [torch.where(where == column, self, 0).sum(dim, keepdim=True) for column in _columns(index, dim)]
    return torch.cat(picked, dim).to(self.dtype)


@registry(aten.scatter_add.default)
def scatter_add(self: Tensor, dim: int, index: Tensor, src: Tensor) -> Maybe:
    """Few elements per row: each is added where the index is."""
    if not _few(self, dim, index) or src.shape != index.shape:
        return NotImplemented
    where = positions(self, dim)
    for column, value in zip(_columns(index, dim), _columns(src, dim), strict=True):
        self = self + torch.where(where == column, value, 0)
    return self


@registry(aten.scatter.src)
def scatter_src(self: Tensor, dim: int, index: Tensor, src: Tensor) -> Maybe:
    """Few elements per row: each replaces what is at the index."""
    if not _few(self, dim, index) or src.shape != index.shape:
        return NotImplemented
    where = positions(self, dim)
    for column, value in zip(_columns(index, dim), _columns(src, dim), strict=True):
        self = torch.where(where == column, value, self)
    return self


@registry(aten.scatter.value)
def scatter_value(self: Tensor, dim: int, index: Tensor, value: float) -> Maybe:
    """Few elements per row: the value replaces what is at each index."""
    if not _few(self, dim, index):
        return NotImplemented
    where = positions(self, dim)
    for column in _columns(index, dim):
        self = torch.where(where == column, torch.full((), value, dtype=self.dtype, device=self.device), self)
    return self
