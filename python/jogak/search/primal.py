"""Cheap choices: repair and local descent from what the bound suggests."""

from __future__ import annotations

import numpy as np

from jogak.search.bound_kernels import cost_of, occupy
from jogak.search.bounds import Dual
from jogak.search.flat import incidence
from jogak.search.jit import INFINITY, Floats, Ints
from jogak.search.primal_kernels import descend
from jogak.search.reductions import Reduced

_SWEEPS = 12
_REPAIRS = 5


class Descent:
    """Makes choices feasible and then cheaper by single changes."""

    def __init__(self, reduced: Reduced, seed: int) -> None:
        self._reduced = reduced
        self._incidence = incidence(reduced.graph)
        self._random = np.random.default_rng(seed)
        self._best = INFINITY

    def improve(self, choice: Ints, dual: Dual) -> list[Ints]:
        """Repair and improve a choice; returns the better one when it is the best so far, else nothing.

        Args:
            choice: a state for each variable, -1 where it is unknown.
            dual: its prices say what memory is worth, its latest choice fills in what is unknown.
        """
        graph, memory = self._reduced.graph, self._reduced.memory
        choice = np.where(choice < 0, dual.choice, choice)
        profile = np.zeros(len(memory.capacity))
        occupy(graph.first, memory.row_of, memory.lower, memory.upper, memory.rows, memory.amount, choice, profile)
        if not self._repair(choice, profile, dual):
            return []
        self._sweep(choice, profile, INFINITY, _SWEEPS)
        cost = cost_of(graph.first, graph.unary, graph.left, graph.right, graph.table, graph.pair, choice)
        if cost >= self._best:
            return []
        self._best = cost
        return [choice]

    def _repair(self, choice: Ints, profile: Floats, dual: Dual) -> bool:
        capacity = self._reduced.memory.capacity
        price = max(float(dual.prices.max(initial=0.0)), 1e-6 * abs(dual.bound) / max(capacity.sum(), 1.0))
        for _ in range(_REPAIRS):
            if (profile <= capacity).all():
                return True
            self._sweep(choice, profile, price, 2)
            price *= 10
        return bool((profile <= capacity).all())

    def _sweep(self, choice: Ints, profile: Floats, price: float, sweeps: int) -> None:
        graph, memory = self._reduced.graph, self._reduced.memory
        order = self._random.permutation(graph.size)
        for _ in range(sweeps):
            changed = descend(
                graph.first, graph.unary, graph.left, graph.right, graph.table, graph.pair, *self._incidence,
                memory.segments, memory.capacity, choice, profile, order, price,
            )  # fmt: skip
            if changed == 0:
                return
