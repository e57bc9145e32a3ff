"""Optimizer updates as pure functions of tensors, equal to one step of `torch.optim`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from jogak.ingress.options import Optimizer

STEP = "optimizer.step"
"""Name of the argument that counts the steps of AdamW."""


def state_slots(optimizer: Optimizer) -> tuple[str, ...]:
    """The tensors that the optimizer keeps for every parameter, each of the parameter's shape and dtype."""
    if optimizer.kind == "adamw":
        return ("exp_avg", "exp_avg_sq")
    return ("momentum",) if optimizer.momentum else ()


def counts_steps(optimizer: Optimizer) -> bool:
    """Whether the optimizer needs the number of the step."""
    return optimizer.kind == "adamw"


@dataclass(frozen=True)
class Corrections:
    """AdamW's bias corrections of one step: `lr / (1 - b1^t)` and `1 / sqrt(1 - b2^t)`, without a dimension."""

    step_size: Tensor
    second_moment: Tensor


def corrections(optimizer: Optimizer, step: Tensor) -> Corrections:
    """The corrections of step number `step` (1 for the first).

    `1 - b^t` is written with expm1: for b2 = 0.999 the subtraction would lose four digits in f32.
    """
    first, second = (-torch.expm1(step * math.log(beta)) for beta in optimizer.betas)
    return Corrections(optimizer.learning_rate / first, second.rsqrt())


def _adamw(
    optimizer: Optimizer, parameter: Tensor, gradient: Tensor, state: Mapping[str, Tensor], scale: Corrections
) -> tuple[Tensor, dict[str, Tensor]]:
    beta1, beta2 = optimizer.betas
    first = state["exp_avg"] * beta1 + gradient * (1 - beta1)
    second = state["exp_avg_sq"] * beta2 + gradient * gradient * (1 - beta2)
    denominator = second.sqrt() * scale.second_moment + optimizer.eps
    decayed = (
        parameter * (1 - optimizer.learning_rate * optimizer.weight_decay) if optimizer.weight_decay else parameter
    )
    return decayed - first / denominator * scale.step_size, {"exp_avg": first, "exp_avg_sq": second}


def _sgd(
    optimizer: Optimizer, parameter: Tensor, gradient: Tensor, state: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    if optimizer.weight_decay:
        gradient = gradient + parameter * optimizer.weight_decay
    if not optimizer.momentum:
        return parameter - gradient * optimizer.learning_rate, {}
    momentum = state["momentum"] * optimizer.momentum + gradient
    return parameter - momentum * optimizer.learning_rate, {"momentum": momentum}


def update(
    optimizer: Optimizer,
    parameter: Tensor,
    gradient: Tensor,
    state: Mapping[str, Tensor],
    scale: Corrections | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The next value of a parameter and of its optimizer state.

    Below f32 the arithmetic is done in f32 and rounded once at the end.

    Args:
        optimizer: which rule and its numbers.
        parameter: current value.
        gradient: of the loss with respect to it.
        state: current value of each of `state_slots`.
        scale: AdamW's corrections of this step; None for SGD.
    """
    compute = torch.promote_types(parameter.dtype, torch.float32)
    wide = {slot: value.to(compute) for slot, value in state.items()}
    if scale is None:
        value, after = _sgd(optimizer, parameter.to(compute), gradient.to(compute), wide)
    else:
        value, after = _adamw(optimizer, parameter.to(compute), gradient.to(compute), wide, scale)
    return value.to(parameter.dtype), {slot: moment.to(parameter.dtype) for slot, moment in after.items()}
