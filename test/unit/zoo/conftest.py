"""Running and tracing a model the way the importer does: eagerly, and under fake tensors with its backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx
from torch._subclasses import FakeTensorMode
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from jogak.zoo.entry import Entry


def _target(entry: Entry) -> Tensor | None:
    if entry.loss is None:
        return None
    with torch.no_grad():
        output = entry.module(*entry.args, **entry.kwargs)
    return torch.randn_like(output) if entry.loss == "mse" else torch.randint(entry.bounds["target"], output.shape[:-1])


def _loss(entry: Entry, output: Any, target: Tensor | None) -> Tensor:
    if entry.loss == "mse":
        return functional.mse_loss(output, target)
    if entry.loss == "cross_entropy":
        return functional.cross_entropy(output.flatten(0, -2), target.flatten())
    return output if isinstance(output, Tensor) else output.loss


def _train(entry: Entry) -> Tensor:
    loss = _loss(entry, entry.module(*entry.args, **entry.kwargs), _target(entry))
    loss.backward()
    return loss.detach()


def _trace(entry: Entry) -> fx.GraphModule:
    target = _target(entry)
    names = [name for name, _ in entry.module.named_parameters()]

    def step(parameters: list[Tensor], buffers: dict[str, Tensor], inputs: Any, target: Tensor | None) -> Any:
        leaves = [parameter.detach().requires_grad_(True) for parameter in parameters]
        state = dict(zip(names, leaves, strict=True)) | {name: value.clone() for name, value in buffers.items()}
        output = functional_call(entry.module, state, *inputs, tie_weights=True)
        loss = _loss(entry, output, target)
        return loss, torch.autograd.grad(loss, leaves, allow_unused=True)

    mode = FakeTensorMode()
    state = ([p.detach() for p in entry.module.parameters()], dict(entry.module.named_buffers()))
    fake = torch.utils._pytree.tree_map_only(Tensor, mode.from_tensor, (*state, (entry.args, entry.kwargs), target))
    with mode:
        return make_fx(step, tracing_mode="real")(*fake)


@pytest.fixture
def train() -> Callable[[Entry], Tensor]:
    """One forward and backward pass on real data; returns the loss."""
    return _train


@pytest.fixture
def trace() -> Callable[[Entry], fx.GraphModule]:
    """Forward and backward as one graph, traced without touching a value."""
    return _trace
