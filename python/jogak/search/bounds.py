"""The lower bound: memory limits become prices, and message passing bounds what is left.

For any nonnegative prices on memory, the least cost plus price of usage minus price of the limit is a lower bound
(Lagrangian relaxation); `pass_messages` bounds that least cost from below. Prices follow the average overflow of the
choices that message passing suggests (a deflected subgradient). The suggested choices also feed the primal search.

Any messages prove a bound, so each round may start from better ones than the last left: they go on in the direction in
which they moved (momentum, that grows as in Nesterov, "A method for solving the convex programming problem with
convergence rate O(1/k^2)", 1983). Messages that creep for hundreds of rounds, round cycles and through variables of
many edges, arrive in tens.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from jogak.search.bound_kernels import Messages, add_prices, extrapolate, occupy, pass_messages
from jogak.search.flat import Graph, incidence, offsets
from jogak.search.jit import INFINITY, Floats, Ints
from jogak.search.memory import Memory

_WARM_UP = 20
_FIRST_STEP = 0.02
_RESTART = 0.05
_GROW, _SHRINK, _PATIENCE = 1.08, 0.7, 4
_MEMORY_OF_AVERAGE = 0.9
# Messages begin with less momentum than this: the first moves from nothing are far too large to go on with.
_MOMENTUM = 0.85
# Rounding errors of sums of doubles stay far below this share of the largest sum.
_ROUNDING = 1e-11


@dataclass
class Dual:
    """Prices and messages, and the best bound so far.

    Attributes:
        bound: the best lower bound; no feasible choice costs less.
        prices: the price of memory at each time that gave it.
        marginals: how much more than `marginal_bound` a choice with each state costs at least.
        choice: the latest suggested choice; may overflow memory.
        profile: its usage over time.
        age: for each state, how many rounds ago a choice with it was suggested.
        step: expected gain of the next step, in units of cost.
        momentum: how far messages go on at most, as a share of their last move.
    """

    graph: Graph
    memory: Memory
    bound: float = -INFINITY
    prices: Floats = field(init=False)
    marginals: Floats = field(init=False)
    marginal_bound: float = -INFINITY
    choice: Ints = field(init=False)
    age: Floats = field(init=False)
    profile: Floats = field(init=False)
    step: float = 0.0
    momentum: float = _MOMENTUM

    def __post_init__(self) -> None:
        graph, times = self.graph, len(self.memory.capacity)
        self._incidence = incidence(graph)
        at_left, at_right = offsets(graph.states[graph.left]), offsets(graph.states[graph.right])
        self._messages = Messages(at_left, np.zeros(at_left[-1]), at_right, np.zeros(at_right[-1]))
        self._before = np.zeros(at_left[-1])
        self.prices, self._trial, self._average = np.zeros(times), np.zeros(times), np.zeros(times)
        self.marginals, self._work = np.zeros(len(graph.unary)), np.zeros(len(graph.unary))
        self.choice, self.profile = np.zeros(graph.size, np.int64), np.zeros(times)
        self.age = np.full(len(graph.unary), INFINITY)
        self._rounds, self._failures = 0, 0

    def iterate(self) -> float:
        """One sweep there and back at the current prices, then new prices. Returns the bound of this round."""
        unary = self._priced(self._trial)
        ahead = self._sweep(unary, True, self._trial)
        bound = self._sweep(unary, False, self._trial)
        # The next sweep ahead computes the messages to the right from those to the left alone.
        extrapolate(self._messages.to_left, self._before, min(self.momentum, self._rounds / (self._rounds + 3)))
        self._rounds += 1
        self.age += 1
        self.age[self.graph.first[:-1] + self.choice] = 0
        occupy(self.memory, self.choice, self.profile)
        better = bound > self.bound
        if better:
            self.bound, self.marginal_bound = bound, ahead
            self.prices = self._trial.copy()
            self.marginals = self._work.copy()
        if self._rounds >= _WARM_UP:
            self._move(better)
        return bound

    def stride(self, gap: float) -> None:
        """Lengthen the next step to a share of what the bound can still gain."""
        self.step = max(self.step, _RESTART * gap)

    def _priced(self, prices: Floats) -> Floats:
        unary = self.graph.unary.copy()
        summed = np.concatenate([np.zeros(1), np.cumsum(prices)])
        add_prices(self.graph, self.memory, summed, unary)
        return unary

    def _sweep(self, unary: Floats, forward: bool, prices: Floats) -> float:
        bound = pass_messages(self.graph, unary, self._incidence, self._messages, forward, self._work, self.choice)
        paid = float((prices * self.memory.capacity).sum())
        return bound - paid - _ROUNDING * (abs(bound) + abs(paid))

    def _move(self, better: bool) -> None:
        overflow = self.profile - self.memory.capacity
        self._average *= _MEMORY_OF_AVERAGE
        self._average += (1 - _MEMORY_OF_AVERAGE) * overflow
        if self.step == 0:
            self.step = _FIRST_STEP * max(abs(self.bound), 1.0)
            self._average[:] = overflow
        self._failures = 0 if better else self._failures + 1
        if better:
            self.step *= _GROW
        elif self._failures > _PATIENCE:
            self.step *= _SHRINK
            self._failures = 0
            self._trial = self.prices.copy()
        direction = np.where((self._trial <= 0) & (self._average < 0), 0.0, self._average)
        length = float(np.square(direction).sum())
        if length > 0:
            self._trial = np.maximum(self._trial + self.step / length * direction, 0.0)
