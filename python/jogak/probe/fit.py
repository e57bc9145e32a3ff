"""From measured times to the few numbers of a cost model, by least squares of relative errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

import numpy as np
from scipy.optimize import nnls


@dataclass(frozen=True)
class Line:
    """`seconds = alpha + beta * amount`.

    Attributes:
        alpha: seconds, not negative.
        beta: seconds for each unit, positive.
        error: the largest relative error on what it was fitted to.
    """

    alpha: float
    beta: float
    error: float


def fit_line(amounts: Sequence[float], seconds: Sequence[float]) -> Line:
    """The line that is closest to measured times, each error relative to its time.

    A negative constant becomes 0, and where times do not rise with the amount the largest one gives the slope.

    Args:
        amounts: bytes or operations, at least one of them positive.
        seconds: positive.
    """
    x, t = np.asarray(amounts, np.float64), np.asarray(seconds, np.float64)
    system = np.stack([1 / t, x / t], axis=1)
    alpha, beta = (float(v) for v in np.linalg.lstsq(system, np.ones_like(t), rcond=None)[0])
    if alpha < 0:
        alpha, beta = 0.0, float((x / t).sum() / ((x / t) ** 2).sum())
    if beta <= 0:
        largest = int(x.argmax())
        alpha, beta = 0.0, float(t[largest] / x[largest])
    return Line(alpha, beta, float(np.abs((alpha + beta * x) / t - 1).max()))


@dataclass(frozen=True)
class Plane:
    """`seconds = alpha + beta * amount + gamma * other`, none of them negative.

    Attributes:
        alpha: seconds.
        beta: seconds for each unit, positive.
        gamma: seconds for each unit of the other amount; 0 where it makes no difference.
        error: the largest relative error on what it was fitted to.
    """

    alpha: float
    beta: float
    gamma: float
    error: float


def fit_plane(amounts: Sequence[float], others: Sequence[float], seconds: Sequence[float]) -> Plane:
    """The plane that is closest to measured times, each error relative to its time.

    Args:
        amounts: operations.
        others: bytes.
        seconds: positive.
    """
    x, y, t = (np.asarray(each, np.float64) for each in (amounts, others, seconds))
    scales = np.array([1.0, x.max(), y.max()])
    found, _ = nnls(np.stack([np.ones_like(t), x, y], axis=1) / scales / t[:, None], np.ones_like(t))
    alpha, beta, gamma = (float(v) for v in found / scales)
    if not beta:
        line = fit_line(amounts, seconds)
        alpha, beta, gamma = line.alpha, line.beta, 0.0
    return Plane(alpha, beta, gamma, float(np.abs((alpha + beta * x + gamma * y) / t - 1).max()))


def geometric_mean(values: Sequence[float]) -> float:
    """The mean of ratios and rates."""
    return exp(sum(map(log, values)) / len(values))
