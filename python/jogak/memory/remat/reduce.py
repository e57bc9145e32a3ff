"""What an optimal plan for a fixed order can contain at all, given the cost of a plan that is known."""

from __future__ import annotations

import math
from typing import NamedTuple

from jogak.memory.remat.graph import RematGraph


class Choices(NamedTuple):
    """Which computations are left to decide.

    Attributes:
        repeats: how often each node may be computed again at most.
        horizon: the last stage in which somebody may read each node.
    """

    repeats: list[float]
    horizon: list[int]


def possible_choices(graph: RematGraph, cap: float) -> Choices:
    """Leave out every repeat that no plan with an added cost of at most `cap` can contain.

    A node that costs more than `cap` is never repeated, and what its inputs are good for ends with it.

    Args:
        graph: nodes numbered in topological order, which is the order of the stages.
        cap: added cost that is known to be enough; infinite when nothing is known.
    """
    nodes = len(graph)
    repeats = [0.0] * nodes
    horizon = list(range(nodes))
    for node in reversed(range(nodes)):
        readers = graph.succs[node]
        if readers:
            horizon[node] = max(horizon[reader] if repeats[reader] else reader for reader in readers)
        if node not in graph.single and horizon[node] > node:
            # Every computation that is worth it is read by a computation of a reader that reads no other one.
            repeats[node] = min(_affordable(graph.cost[node], cap), sum(1 + repeats[reader] for reader in readers))
    return Choices(repeats, horizon)


def _affordable(cost: float, cap: float) -> float:
    if cost == 0 or math.isinf(cap):
        return math.inf
    return math.floor(cap * (1 + 1e-9) / cost)
