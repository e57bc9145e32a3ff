"""Sums and means of bf16 and f16 tensors: taken in f32 and rounded once, as PyTorch's own kernels do.

Lowered as they are, every partial sum would be rounded: a bias gradient over 8192 tokens would lose whatever is below
1/256 of it. Split over devices, the sum of each would be rounded once more in front of the all-reduce.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from jogak.ingress.registry import Decomposition, Maybe, Registry, widened

registry = Registry()
aten = torch.ops.aten


def _in_f32(op: torch._ops.OpOverload) -> Decomposition:
    """The decomposition of a reduction that sums, for results narrower than f32."""

    def reduce(self: Tensor, *dims: Any, dtype: torch.dtype | None = None, **options: Any) -> Maybe:
        result = dtype or self.dtype
        narrow = result.is_floating_point and torch.promote_types(result, torch.float32) != result
        return op(widened(self), *dims, **options).to(result) if narrow else NotImplemented

    return reduce


for each in (aten.sum.default, aten.sum.dim_IntList, aten.mean.default, aten.mean.dim):
    registry(each)(_in_f32(each))
