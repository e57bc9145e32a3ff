"""Reduction loops that could not be vectorized. Their text becomes part of a program that has one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor


def run_loop(
    body: Callable[..., Any],
    loops: Sequence[tuple[int, int]],
    operands: Sequence[Tensor],
    captures: Sequence[Tensor],
    accumulators: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """Reduction loops that could not be vectorized: `body` runs for every point of `loops` (dimension, size)."""
    current = tuple(accumulators)
    for point in product(*(range(size) for _, size in loops)):
        here = [at_point(operand, loops, point) for operand in operands]
        result = body(*here, *captures, *(torch.tensor(index) for index in point), *current)
        current = result if isinstance(result, tuple) else (result,)
    return current


def at_point(operand: Tensor, loops: Sequence[tuple[int, int]], point: Sequence[int]) -> Tensor:
    for (dim, _), index in zip(loops, point, strict=True):
        if operand.shape[dim] > 1:
            operand = operand.narrow(dim, index, 1)
    return operand


def loop_source() -> str:
    """The text of `run_loop`, for a module that imports torch and nothing of Jogak."""
    return "\n\n".join(["from itertools import product\n", inspect.getsource(run_loop), inspect.getsource(at_point)])
