"""How a decomposition is written down: a function, and the ops that it replaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Decomposition = Callable[..., Any]


class Registry:
    """The decompositions of one file, by op."""

    def __init__(self) -> None:
        self.table: dict[Any, Decomposition] = {}

    def __call__(self, *ops: Any) -> Callable[[Decomposition], Decomposition]:
        """Register the decorated function for `ops`. It may return NotImplemented to keep the op."""

        def register(function: Decomposition) -> Decomposition:
            self.table.update(dict.fromkeys(ops, function))
            return function

        return register


def compute_dtype(value: Tensor) -> torch.dtype:
    """The type to accumulate in: at least f32."""
    return torch.promote_types(value.dtype, torch.float32)


def widened(value: Tensor) -> Tensor:
    """The value in `compute_dtype`."""
    return value.to(compute_dtype(value))


def along(value: Tensor, rank: int, dimension: int) -> Tensor:
    """A vector as a tensor of `rank` dimensions that varies along `dimension` only."""
    return value.view([-1 if i == dimension % rank else 1 for i in range(rank)])


def positions(like: Tensor, dimension: int) -> Tensor:
    """0, 1, 2, ... along one dimension of a tensor, broadcastable against it."""
    return along(torch.arange(like.shape[dimension], device=like.device), like.dim(), dimension)
