"""From measured times to the few numbers of a cost model, by least squares of relative errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

_ROUNDS = 8
"""How often the weights of a fit are found again."""


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


def fit_lines(measured: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> dict[str, Line]:
    """Lines with a common constant that are closest to measured times, each error relative to what the line says.

    Args:
        measured: for each line its amounts and seconds, all positive.
    """
    columns = list(measured)
    rows = [(at, x, t) for at, name in enumerate(columns) for x, t in zip(*measured[name], strict=True)]
    largest = max(x for _, x, _ in rows)
    system = np.zeros((len(rows), 1 + len(columns)))
    for number, (at, x, _) in enumerate(rows):
        system[number, 0], system[number, 1 + at] = 1.0, x / largest
    found = _closest(system, np.array([t for _, _, t in rows]))
    made = {}
    for at, name in enumerate(columns):
        amounts, seconds = (np.asarray(each, np.float64) for each in measured[name])
        alpha, beta = float(found[0]), float(found[1 + at] / largest)
        beta = beta or fit_line(*measured[name]).beta
        made[name] = Line(alpha, beta, float(np.abs((alpha + beta * amounts) / seconds - 1).max()))
    return made


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
    """The plane that is closest to measured times, each error relative to what the plane says.

    Args:
        amounts: operations.
        others: bytes.
        seconds: positive.
    """
    x, y, t = (np.asarray(each, np.float64) for each in (amounts, others, seconds))
    scales = np.array([1.0, x.max(), y.max()])
    alpha, beta, gamma = (float(v) for v in _closest(np.stack([np.ones_like(t), x, y], axis=1) / scales, t) / scales)
    if not beta:
        line = fit_line(amounts, seconds)
        alpha, beta, gamma = line.alpha, line.beta, 0.0
    return Plane(alpha, beta, gamma, float(np.abs((alpha + beta * x + gamma * y) / t - 1).max()))


def _closest(system: NDArray[np.float64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients, none negative, whose times are closest to measured ones, each error relative to the former.

    Relative to the measured ones, times that noise made short would count for more than those that it made long.
    """
    told = seconds
    for _ in range(_ROUNDS):
        found, _ = nnls(system / told[:, None], seconds / told)
        told = np.maximum(system @ found, seconds.min() / 2)
    return np.asarray(found, np.float64)


def geometric_mean(values: Sequence[float]) -> float:
    """The mean of ratios and rates."""
    return exp(sum(map(log, values)) / len(values))
