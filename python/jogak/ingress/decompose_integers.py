"""Bitwise operations with a number: torch-mlir lowers those of two tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from jogak.ingress.registry import Registry

registry = Registry()
aten = torch.ops.aten


def _with_tensor(op: Any) -> Callable[[Tensor, int], Tensor]:
    def with_tensor(self: Tensor, other: int) -> Tensor:
        result: Tensor = op(self, torch.full((), other, dtype=self.dtype, device=self.device))
        return result

    return with_tensor


for _number, _tensor in (
    (aten.bitwise_or.Scalar, aten.bitwise_or.Tensor),
    (aten.bitwise_xor.Scalar, aten.bitwise_xor.Tensor),
    (aten.bitwise_left_shift.Tensor_Scalar, aten.bitwise_left_shift.Tensor),
    (aten.bitwise_right_shift.Tensor_Scalar, aten.bitwise_right_shift.Tensor),
):
    registry(_number)(_with_tensor(_tensor))
