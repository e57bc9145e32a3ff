"""What an optimal plan for a fixed order can contain at all, given the cost of a plan that is known."""

from __future__ import annotations

import math
from typing import NamedTuple

from jogak.memory.remat.graph import RematGraph


class Choices(NamedTuple):
    """Which computations are left to decide.

    Attributes:
        repeats: how often each node may be computed again; infinite when it costs nothing.
        horizon: the last stage in which somebody may read each node.
    """

    repeats: list[float]
    horizon: list[int]


def possible_choices(graph: RematGraph, cap: float) -> Choices:
    """Leave out every repeat that no plan with an added cost of at most `cap` can contain.

    A node that costs more than `cap` is never repeated; its readers then bound how long its inputs are of use.

    Args:
        graph: nodes numbered in topological order, which is the order of the stages.
        cap: added cost that is known to be enough; infinite when nothing is known.
    """
    nodes = len(graph)
    repeats = [0.0] * nodes
    horizon = list(range(nodes))
    for node in reversed(range(nodes)):
        if graph.succs[node]:
            horizon[node] = max(horizon[succ] if repeats[succ] else succ for succ in graph.succs[node])
        if node not in graph.once and horizon[node] > node:
            repeats[node] = _times(graph.cost[node], cap)
    return Choices(repeats, horizon)


def _times(cost: float, cap: float) -> float:
    if cost == 0 or math.isinf(cap):
        return math.inf
    return math.floor(cap * (1 + 1e-9) / cost)
