"""Arithmetic of bf16 and f16 tensors with a Python number: the number stays as exact as f32, as in PyTorch's kernels.

torch-mlir would round the number to the tensor's type first: the `sqrt(8)` of an attention's scores to 2.828125, an
error of 1e-4 in every score.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from jogak.ingress.registry import Decomposition, Maybe, Registry, widened

registry = Registry()
aten = torch.ops.aten

_OPS = (
    *(aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor),
    *(aten.add.Scalar, aten.sub.Scalar, aten.mul.Scalar, aten.div.Scalar, aten.rsub.Scalar),
)


def _holds(dtype: torch.dtype, value: float) -> bool:
    """Whether a float type has enough digits for a number."""
    digits = 1 - round(math.log2(torch.finfo(dtype).eps))
    return not math.isfinite(value) or (math.frexp(value)[0] * 2**digits).is_integer()


def _in_f32(op: torch._ops.OpOverload) -> Decomposition:
    """The decomposition of an op with a number that the tensor's type would round."""

    def apply(self: Tensor, other: Any, *rest: Any, **options: Any) -> Maybe:
        if not isinstance(other, float) or self.dtype not in (torch.bfloat16, torch.float16):
            return NotImplemented
        return (
            NotImplemented if _holds(self.dtype, other) else op(widened(self), other, *rest, **options).to(self.dtype)
        )

    return apply


for each in _OPS:
    registry(each)(_in_f32(each))
