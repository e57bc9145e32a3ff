"""Cheap choices: repair and local descent from what the bound suggests."""

from __future__ import annotations

import numpy as np

from jogak.search.bound_kernels import cost_of, occupy
from jogak.search.bounds import Dual
from jogak.search.flat import incidence
from jogak.search.forest_kernels import ball, grow_forest, mark_safe, move_forest
from jogak.search.jit import INFINITY, Floats, Ints
from jogak.search.primal_kernels import descend
from jogak.search.reductions import Reduced

_SWEEPS = 12
_REPAIRS = 5
# Repairs that fail are slow: after each failure in a row more choices are passed over, up to so many.
_LONGEST_PAUSE = 3
# Choices after descent that cost more than this multiple of the best are not worth more effort.
_NEAR = 1.05
# Moves in a row that may gain nothing: of forests in the whole problem, and in a region.
_MOVES, _TRIES = 4, 2
# Size of a disturbance, and how many times larger the region is that answers it.
_KICK, _REGION = (1, 8), 12
# Forests of at most so many variables may use memory that is left.
_SHARED = 200
# Disturbed variables take the dual's state with this probability, else one of rank about _SPREAD by reduced cost.
_TRUST, _SPREAD = 0.3, 2.0


class Descent:
    """Makes choices feasible and then cheaper by single changes."""

    def __init__(self, reduced: Reduced, seed: int) -> None:
        self._reduced = reduced
        self._incidence = incidence(reduced.graph)
        self._random = np.random.default_rng(seed)
        self._best = INFINITY
        self._failures, self._pause = 0, 0

    def improve(self, choice: Ints, dual: Dual, *, given: bool = False) -> list[Ints]:
        """Repair and improve a choice; returns the better one when it is the best so far, else nothing.

        After a repair that failed, the next choices are passed over unless they are `given` by the user.

        Args:
            choice: a state for each variable, -1 where it is unknown.
            dual: its prices say what memory is worth, its latest choice fills in what is unknown.
        """
        graph = self._reduced.graph
        choice = np.where(choice < 0, dual.choice, choice)
        profile = self._profile(choice)
        everything = np.arange(graph.size)
        if self._pause > 0 and not given:
            self._pause -= 1
            return []
        if not self._repair(choice, profile, dual, everything):
            self._failures += 1
            self._pause = min(2**self._failures - 1, _LONGEST_PAUSE)
            return []
        self._failures = 0
        self._sweep(choice, profile, INFINITY, _SWEEPS, everything)
        cost = self._cost(choice)
        if cost < _NEAR * self._best or self._best <= 0:
            cost = self._polish(choice, everything, _MOVES)
        if cost >= self._best:
            return []
        self._best = cost
        return [choice]

    def explore(self, choice: Ints, dual: Dual, kicks: int) -> list[Ints]:
        """Iterated local search: disturb a small region, improve it in forests, keep what is not worse.

        Args:
            choice: a feasible state for each variable; -1 where it is unknown.
            dual: the states that it finds promising are tried.
            kicks: number of disturbances.

        Returns:
            The best choice when it is better than all before, else nothing.
        """
        graph = self._reduced.graph
        current = np.where(choice < 0, dual.choice, choice)
        if not self._fits(self._profile(current)):
            return []
        cost, improved = self._cost(current), False
        inside = np.empty(graph.size, np.int64)
        free = np.flatnonzero(graph.states > 1)
        for _ in range(kicks):
            trial = current.copy()
            center = free[self._random.integers(len(free))]
            size = int(self._random.integers(*_KICK))
            count = ball(graph, self._incidence, center, _REGION * size, inside)
            self._disturb(trial, inside[: min(size, count)], dual)
            profile = self._profile(trial)
            if not self._fits(profile) and not self._repair(trial, profile, dual, inside[:count]):
                continue
            new = self._polish(trial, inside[:count].copy(), _TRIES)
            if new <= cost:
                improved = improved or new < cost
                current, cost = trial, new
        if not improved or cost >= self._best:
            return []
        self._best = cost
        return [current]

    def _disturb(self, choice: Ints, variables: Ints, dual: Dual) -> None:
        """Give some variables other promising states: the dual's, or a random one with little reduced cost."""
        first = self._reduced.graph.first
        for v in variables.tolist():
            extra = dual.marginals[first[v] : first[v + 1]]
            if self._random.random() < _TRUST:
                choice[v] = dual.choice[v]
            else:
                order = np.argsort(extra)
                choice[v] = order[min(int(self._random.exponential(_SPREAD)), len(order) - 1)]

    def _polish(self, choice: Ints, candidates: Ints, moves: int) -> float:
        """Move random forests among the candidates until so many moves in a row gain nothing; returns the cost."""
        graph, memory = self._reduced.graph, self._reduced.memory
        sequence, via = np.empty(graph.size, np.int64), np.empty(graph.size, np.int64)
        allowed = np.ones(len(graph.unary), np.bool_)
        cost, idle = self._cost(choice), 0
        while idle < moves:
            candidates = self._random.permutation(candidates)
            count = grow_forest(graph, self._incidence, candidates, sequence, via)
            if len(memory.capacity):
                share, picked = count <= _SHARED, sequence[:count]
                profile = self._profile(choice) if share else memory.capacity
                mark_safe(graph, memory, profile, picked, choice, share, allowed)
            move_forest(graph, self._incidence, sequence[:count], via, allowed, choice)
            new = self._cost(choice)
            idle = 0 if new < cost else idle + 1
            cost = min(cost, new)
        return cost

    def _cost(self, choice: Ints) -> float:
        return cost_of(self._reduced.graph, choice)

    def _profile(self, choice: Ints) -> Floats:
        profile = np.zeros(len(self._reduced.memory.capacity))
        occupy(self._reduced.memory, choice, profile)
        return profile

    def _fits(self, profile: Floats) -> bool:
        return bool((profile <= self._reduced.memory.capacity).all())

    def _repair(self, choice: Ints, profile: Floats, dual: Dual, variables: Ints) -> bool:
        capacity = self._reduced.memory.capacity
        price = max(float(dual.prices.max(initial=0.0)), 1e-6 * abs(dual.bound) / max(capacity.sum(), 1.0))
        for _ in range(_REPAIRS):
            if (profile <= capacity).all():
                return True
            self._sweep(choice, profile, price, 2, variables)
            price *= 10
        return bool((profile <= capacity).all())

    def _sweep(self, choice: Ints, profile: Floats, price: float, sweeps: int, variables: Ints) -> None:
        graph, memory = self._reduced.graph, self._reduced.memory
        order = self._random.permutation(variables)
        for _ in range(sweeps):
            changed = descend(graph, self._incidence, memory, choice, profile, order, price)
            if changed == 0:
                return
