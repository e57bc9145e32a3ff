"""How a decomposition is written down: a function, and the ops that it replaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

Decomposition = Callable[..., Any]
_Function = TypeVar("_Function", bound=Decomposition)

Maybe = Any
"""What a decomposition returns that does not always apply: tensors, or NotImplemented to keep the op."""


class Registry:
    """The decompositions of one file, by op."""

    def __init__(self) -> None:
        self.table: dict[Any, Decomposition] = {}

    def __call__(self, *ops: Any) -> Callable[[_Function], _Function]:
        """Register the decorated function for `ops`."""

        def register(function: _Function) -> _Function:
            self.table.update(dict.fromkeys(ops, function))
            return function

        return register


def compute_dtype(value: Tensor) -> torch.dtype:
    """The type to accumulate in: at least f32."""
    return torch.promote_types(value.dtype, torch.float32)


def widened(value: Tensor) -> Tensor:
    """The value in `compute_dtype`."""
    return value.to(compute_dtype(value))
