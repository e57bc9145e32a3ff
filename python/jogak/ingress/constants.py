"""Tensor constants in a model's code (`torch.tensor([...])`): they become arguments, named after their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


def constant_name(value: Tensor) -> str:
    """A name that depends on dtype, shape and values alone, so that two traces agree on it."""
    data = value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    digest = hashlib.sha256(f"{value.dtype}{tuple(value.shape)}".encode() + data).hexdigest()
    return f"constant.{digest[:12]}"


class ConstantMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collects the tensors with values that ops get while everything else is fake."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._found: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        for leaf in pytree.tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor) and not isinstance(leaf, FakeTensor) and leaf.numel() > 1:
                self._found.append(leaf)
        return func(*args, **(kwargs or {}))

    def constants(self) -> dict[str, Tensor]:
        """What was found, by name; to be called when no mode is active any more."""
        return {constant_name(value): value.detach() for value in self._found}
