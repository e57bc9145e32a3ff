"""The table of decompositions: how PyTorch's ops become smaller ones before torch-mlir sees them.

Most entries are PyTorch's own. Ours replace those that would lower to something inexact (an f64 variance, a rounded
constant), to data movement that cannot be sharded (gather and scatter of labels, argmax pairs), or not at all. Each of
ours is compared with the op itself by `test/unit/ingress/test_decompositions.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch._decomp import get_decompositions

from jogak.ingress import (
    decompose_activations,
    decompose_convolutions,
    decompose_indexing,
    decompose_integers,
    decompose_losses,
    decompose_norms,
    decompose_pooling,
    decompose_products,
    decompose_reductions,
    decompose_resampling,
    decompose_scalars,
    decompose_selection,
)
from jogak.ingress.registry import Decomposition, Registry

aten = torch.ops.aten

OURS: tuple[Registry, ...] = (
    decompose_activations.registry,
    decompose_convolutions.registry,
    decompose_indexing.registry,
    decompose_integers.registry,
    decompose_losses.registry,
    decompose_norms.registry,
    decompose_pooling.registry,
    decompose_products.registry,
    decompose_reductions.registry,
    decompose_resampling.registry,
    decompose_scalars.registry,
    decompose_selection.registry,
)

FROM_TORCH: tuple[Any, ...] = (
    aten.binary_cross_entropy,
    aten.binary_cross_entropy_backward,
    aten.celu,
    aten.elu,
    aten.elu_backward,
    aten.glu,
    aten.glu_backward,
    aten.hardshrink,
    aten.hardsigmoid,
    aten.hardsigmoid_backward,
    aten.hardswish,
    aten.hardswish_backward,
    aten.huber_loss,
    aten.huber_loss_backward,
    aten.leaky_relu,
    aten.leaky_relu_backward,
    aten.log_sigmoid_backward,
    aten.log_sigmoid_forward,
    aten.mish,
    aten.mish_backward,
    aten.mse_loss,
    aten.mse_loss_backward,
    aten.new_zeros,
    aten.reflection_pad1d_backward,
    aten.reflection_pad2d_backward,
    aten.sigmoid_backward,
    aten.smooth_l1_loss,
    aten.smooth_l1_loss_backward,
    aten.soft_margin_loss,
    aten.softplus,
    aten.softplus_backward,
    aten.softshrink,
    aten.squeeze.dims,
    aten.tanh_backward,
    aten.threshold,
    aten.threshold_backward,
    aten.unfold_backward,
)


@functools.cache
def decomposition_table() -> dict[Any, Decomposition]:
    """From op to decomposition: torch-mlir's choice, more of PyTorch's, then ours."""
    from torch_mlir.extras.fx_decomp_util import get_decomposition_table

    table: dict[Any, Callable[..., Any]] = dict(get_decomposition_table())
    table.update(get_decompositions(FROM_TORCH))
    for registry in OURS:
        table.update(registry.table)
    return table
