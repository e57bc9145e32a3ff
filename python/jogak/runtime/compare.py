"""How far a result is from PyTorch's, as one number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from jogak.ingress.options import Optimizer

NOISE = {"f64": 1e-10, "f32": 1e-3, "bf16": 1e-2, "f16": 1e-2}
"""Magnitude below which a whole result is rounding noise, by the float that is computed in.

A gradient that is zero in exact arithmetic (a key's bias under softmax, a bias in front of batch normalization) comes
out as noise, whose relative error says nothing. It is measured against this magnitude instead.
"""


@dataclass(frozen=True)
class Difference:
    """How far a result is from what was expected.

    Attributes:
        absolute: largest absolute difference.
        relative: that divided by the largest magnitude of what was expected (or by the noise); where the exact result
            is known, the distance from it beyond twice the reference's own, by the magnitude of the exact result.
    """

    absolute: float
    relative: float


def compare(
    expected: Mapping[str, Tensor],
    got: Mapping[str, Tensor],
    before: Mapping[str, Tensor],
    optimizer: Optimizer | None,
    precision: str,
    exact: Mapping[str, Tensor] | None = None,
) -> dict[str, Difference]:
    """Compare every result with PyTorch's.

    Two correct programs in a 16-bit float differ by their rounding: where a tensor is ill-conditioned (the gradient of
    a batch normalization over few values) each of them is half of its magnitude away from the exact one. So there the
    measure is the distance from the exact result, in f64: it may be twice PyTorch's own and the tolerance beyond that,
    the criterion by which the tests of FlashAttention (github.com/Dao-AILab/flash-attention) judge their kernels.

    AdamW divides a gradient by its own magnitude: where the gradient is rounding noise, the update is a whole step in a
    random direction, and two correct runs differ. An updated parameter is therefore compared with AdamW's formula in
    double precision on the program's own new moments, and those moments (of the second the root) with PyTorch's.

    Args:
        expected: PyTorch's results by name.
        got: the program's.
        before: the arguments of the step.
        optimizer: of a training step; None for inference.
        precision: what both were computed in: a key of `NOISE`.
        exact: the results in double precision, for floats of 16 bits.
    """
    found = {}
    for name, result in got.items():
        wanted, truth = expected[name], None if exact is None else exact[name]
        if optimizer is not None and f"exp_avg.{name}" in got:
            wanted, truth = _adamw(name, got, before, optimizer).reshape(wanted.shape), None
        if name.startswith("exp_avg_sq."):  # a square, whose relative error is twice that of the gradient
            result, wanted = result.double().sqrt(), wanted.double().sqrt()
            truth = None if truth is None else truth.double().sqrt()
        floor = _floor(name, precision, optimizer if name in before else None)
        found[name] = difference(result, wanted, floor, truth)
    return found


def _adamw(name: str, got: Mapping[str, Tensor], before: Mapping[str, Tensor], optimizer: Optimizer) -> Tensor:
    """The updated parameter by AdamW's formula (arXiv 1711.05101) on the new moments."""
    steps = float(got["optimizer.step"])
    first, second = optimizer.betas
    mean = got[f"exp_avg.{name}"].double() / (1 - first**steps)
    square = got[f"exp_avg_sq.{name}"].double() / (1 - second**steps)
    start = before[name].double().reshape(mean.shape)
    decayed = start * (1 - optimizer.learning_rate * optimizer.weight_decay)
    updated: Tensor = decayed - optimizer.learning_rate * mean / (square.sqrt() + optimizer.eps)
    return updated


def _floor(name: str, precision: str, optimizer: Optimizer | None) -> float:
    """The magnitude against which a smaller result is measured: for an updated parameter one step of the optimizer."""
    noise = NOISE[precision]
    stateful = name.startswith(("exp_avg.", "exp_avg_sq.", "momentum."))
    return max(noise, optimizer.learning_rate) if optimizer is not None and not stateful else noise


def difference(got: Tensor, expected: Tensor, floor: float, exact: Tensor | None = None) -> Difference:
    """Compare two tensors of the same number of elements; a value that is finite on one side only is infinitely far.

    Args:
        floor: the least magnitude that the difference is divided by; integers are compared absolutely.
        exact: what both approximate, where that is known.
    """
    if not expected.numel():
        return Difference(0.0, 0.0)
    got = got.reshape(expected.shape)
    if not expected.is_floating_point():
        absolute = float((got.to(torch.int64) - expected.to(torch.int64)).abs().max())
        return Difference(absolute, absolute)
    left, right = got.double(), expected.double()
    if not torch.equal(left.isfinite(), right.isfinite()):
        return Difference(float("inf"), float("inf"))
    left, right = left.nan_to_num(), right.nan_to_num()
    absolute = float((left - right).abs().max())
    if exact is None:
        return Difference(absolute, absolute / max(float(right.abs().max()), floor))
    truth = exact.reshape(expected.shape).double().nan_to_num()
    distance, own = (float((each - truth).abs().max()) for each in (left, right))
    return Difference(absolute, max(distance - 2 * own, 0.0) / max(float(truth.abs().max()), floor))
