"""What must be computed again after one moment of a run: the least cost of repeats, as an integer program.

What was made before the moment and is read after it is kept in memory across it, or is made again later, from inputs of
which the same is true. Which values to keep is a minimum cut with a knapsack: keep k, make again r, least cost of r,
bytes of k within the room that the moment leaves.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

_UNITS = 1000.0  # the cost of one run in the units of the solver


class Repeats(NamedTuple):
    """What the program says.

    Attributes:
        added: every plan adds at least this cost; infinite when there is no plan.
        dropped: values that the cheapest solution found does not keep; None without one.
    """

    added: float
    dropped: set[int] | None


def least_repeats(
    crossing: Sequence[int],
    again: Sequence[int],
    reads: Sequence[Collection[int]],
    makers: Mapping[int, int],
    sizes: Sequence[int],
    cost: Mapping[int, float],
    room: int,
    time_limit: float,
    *,
    relaxed: bool = False,
) -> Repeats:
    """The least cost of computing again.

    Args:
        crossing: values that are made before the moment and read after it.
        again: steps of the past that may repeat.
        reads: for each of them the values that it needs and that are not at hand anyway.
        makers: the step that makes each of these values.
        sizes: bytes of every value, by number.
        cost: of the steps that may repeat.
        room: bytes for what is kept.
        time_limit: seconds for the solver; its bound holds when they run out, too.
        relaxed: whether parts of values may be kept: a bound that is hardly less, in a tenth of the time and less for
            thousands of steps; what is kept by half or more is then kept.
    """
    if room < 0:
        return Repeats(math.inf, None)
    values = sorted({*crossing, *(value for row in reads for value in row)})
    keep = {value: index for index, value in enumerate(values)}
    redo = {step: len(keep) + index for index, step in enumerate(again)}

    def at_hand(value: int) -> dict[int, float]:
        maker = redo.get(makers[value], -1)
        return {keep[value]: 1.0} if maker < 0 else {keep[value]: 1.0, maker: 1.0}

    unit, total = max(room, 1), max(sum(cost[step] for step in again), 1e-300)
    rows = [{keep[value]: sizes[value] / unit for value in values}, *map(at_hand, crossing)]
    rows += [{**at_hand(value), redo[step]: -1.0} for step, row in zip(again, reads, strict=True) for value in row]
    least = [-math.inf, *[1.0] * len(crossing), *[0.0] * (len(rows) - 1 - len(crossing))]
    most = [room / unit, *[math.inf] * (len(rows) - 1)]
    prices = np.zeros(len(keep) + len(redo))
    prices[len(keep) :] = [cost[step] * _UNITS / total for step in again]
    answer = milp(
        prices,
        integrality=np.full(len(prices), 0 if relaxed else 1),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(_matrix(rows, len(prices)), np.array(least), np.array(most)),
        options={"time_limit": max(time_limit, 0.1)},
    )
    if answer.status == 2:
        return Repeats(math.inf, None)
    proven = answer.fun if relaxed and answer.status == 0 else answer.mip_dual_bound
    added = max(0.0, proven or 0.0) / _UNITS * total * (1 - 1e-6)
    return Repeats(added, None if answer.x is None else {v for v in values if answer.x[keep[v]] < 0.5})


def _matrix(rows: Sequence[Mapping[int, float]], width: int) -> Any:
    columns = [index for row in rows for index in row]
    factors = [factor for row in rows for factor in row.values()]
    return csr_array((factors, columns, np.cumsum([0, *map(len, rows)])), shape=(len(rows), width))
