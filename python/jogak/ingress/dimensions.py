"""Small operations on one dimension of a tensor, used by the decompositions."""

from __future__ import annotations

import torch
from torch import Tensor


def along(value: Tensor, rank: int, dimension: int) -> Tensor:
    """A vector as a tensor of `rank` dimensions that varies along `dimension` only."""
    return value.view([-1 if i == dimension % rank else 1 for i in range(rank)])


def positions(like: Tensor, dimension: int) -> Tensor:
    """0, 1, 2, ... along one dimension of a tensor, broadcastable against it."""
    return along(torch.arange(like.shape[dimension], device=like.device), like.dim(), dimension)


def split_dimension(x: Tensor, dimension: int, inner: int) -> Tensor:
    """One dimension of size `n * inner` as two, `n` and `inner`."""
    shape = list(x.shape)
    return x.reshape([*shape[:dimension], shape[dimension] // inner, inner, *shape[dimension + 1 :]])


def repeat_elements(x: Tensor, dimension: int, times: int) -> Tensor:
    """Every element `times` times in a row: a copy of the whole along a new dimension, then merged."""
    shape = list(x.shape)
    wide = x.unsqueeze(dimension + 1).expand([*shape[: dimension + 1], times, *shape[dimension + 1 :]])
    return wide.flatten(dimension, dimension + 1)


def multiply_dimension(x: Tensor, dimension: int, matrix: Tensor) -> Tensor:
    """Multiply a `[new, old]` matrix into one dimension."""
    return torch.matmul(x.movedim(dimension, -1), matrix.t()).movedim(-1, dimension)
