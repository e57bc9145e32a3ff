"""Matrix products with an addend: the product in the tensors' own type, then the sum.

PyTorch's own decomposition multiplies bf16 matrices in f32, which gives up the hardware that bf16 is chosen for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jogak.ingress.registry import Registry

registry = Registry()
aten = torch.ops.aten


def _sum(addend: Tensor, product: Tensor, beta: float, alpha: float) -> Tensor:
    if alpha != 1:
        product = product * alpha
    if beta == 0:
        return product
    return product + (addend if beta == 1 else addend * beta)


@registry(aten.addmm.default)
def addmm(self: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """`beta * self + alpha * (mat1 @ mat2)`."""
    return _sum(self, torch.mm(mat1, mat2), beta, alpha)


@registry(aten.baddbmm.default)
def baddbmm(self: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """`beta * self + alpha * (batch1 @ batch2)`, for every matrix of the batch."""
    return _sum(self, torch.bmm(batch1, batch2), beta, alpha)


@registry(aten.addmv.default)
def addmv(self: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """`beta * self + alpha * (mat @ vec)`."""
    return _sum(self, torch.mm(mat, vec.unsqueeze(1)).squeeze(1), beta, alpha)


@registry(aten.mv.default)
def mv(self: Tensor, vec: Tensor) -> Tensor:
    """`self @ vec`."""
    return torch.mm(self, vec.unsqueeze(1)).squeeze(1)
