"""Least cost in any order, for small graphs, by best-first search over what was computed and what is in memory.

A step computes one node. Values are dropped only when a step would not fit otherwise, and then only as many as it
takes: keeping more is never worse. The estimate of the cost to go is one run of every node that is still missing, so
that the search is A* and what it has not finished still gives a lower bound.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from jogak.memory.beam import unwind
from jogak.memory.remat.exact import ExactResult
from jogak.memory.remat.graph import RematGraph


class _State(NamedTuple):
    """Cost so far plus the estimate; a number that breaks ties; nodes computed and values held as bits; the way."""

    estimate: float
    number: int
    done: int
    held: int
    trail: tuple[int, object] | None


def solve_states(graph: RematGraph, budget: int, limit: int) -> ExactResult:
    """Find the sequence of least cost whose peak is within the budget.

    Args:
        graph: nodes numbered in topological order.
        budget: bytes that no step may exceed.
        limit: how many states to look at before giving up.
    """
    search = _Search(graph, budget)
    queue = [search.start()]
    seen: set[tuple[int, int]] = set()
    while queue:
        state = heapq.heappop(queue)
        if state.done == search.all:
            return ExactResult(unwind(state.trail), state.estimate - graph.total_cost, True)
        if (state.done, state.held) in seen:
            continue
        if len(seen) == limit:
            return ExactResult(None, state.estimate - graph.total_cost, False)
        seen.add((state.done, state.held))
        for after in search.steps(state):
            if (after.done, after.held) not in seen:
                heapq.heappush(queue, after)
    return ExactResult(None, math.inf, True)


class _Search:
    def __init__(self, graph: RematGraph, budget: int) -> None:
        self.graph, self.budget = graph, budget - graph.fixed
        self.all = (1 << len(graph)) - 1
        self.makes = [_bits(values) for values in graph.outputs]
        self.reads = [_bits(values) for values in graph.reads]
        self.readers = [_bits(nodes) for nodes in graph.readers]
        self.firsts = [_bits(first for first, last in graph.before if last == node) for node in range(len(graph))]
        self.lasts = [_bits(nodes) for nodes in graph.lasts]
        self.count = itertools.count()

    def start(self) -> _State:
        done = held = 0
        trail: tuple[int, object] | None = None
        for node in sorted(self.graph.arguments):
            done, held, trail = done | 1 << node, held | self.makes[node], (node, trail)
        return _State(self.graph.total_cost, next(self.count), done, self._useful(done, held), trail)

    def steps(self, state: _State) -> Iterator[_State]:
        for node in range(len(self.graph)):
            again = bool(state.done >> node & 1)
            if not self._may_run(state, node, again):
                continue
            estimate = state.estimate + (self.graph.cost[node] if again else 0.0)
            done = state.done | 1 << node
            for kept in self._kept(state.held & ~self.makes[node], node):
                held = self._useful(done, kept | self.makes[node])
                yield _State(estimate, next(self.count), done, held, (node, state.trail))

    def _may_run(self, state: _State, node: int, again: bool) -> bool:
        if self.reads[node] & ~state.held or self.makes[node] & ~state.held == 0:
            return False
        if again and (node in self.graph.single or self.lasts[node] & state.done):
            return False
        return not self.firsts[node] & ~state.done

    def _kept(self, held: int, node: int) -> Iterator[int]:
        """What may stay in memory while the node runs: everything, or all but smallest sets that make room."""
        over = self._bytes(held | self.makes[node]) + self.graph.scratch_of(node) - self.budget
        if over <= 0:
            yield held
            return
        free = [value for value in _ones(held & ~self.reads[node]) if self.graph.bytes[value]]
        for dropped in self._drops(free, over):
            yield held & ~dropped

    def _drops(self, values: list[int], over: int) -> Iterator[int]:
        """Sets of values of at least `over` bytes none of which could stay."""
        if over <= 0:
            yield 0
            return
        for index, value in enumerate(values):
            for others in self._drops(values[index + 1 :], over - self.graph.bytes[value]):
                yield others | 1 << value

    def _useful(self, done: int, held: int) -> int:
        """Without values that nothing will read: all their readers are done and must not run again."""

        def useful(value: int) -> bool:
            return any(self._runs(done, node) for node in _ones(self.readers[value]))

        return _bits(value for value in _ones(held) if useful(value))

    def _runs(self, done: int, node: int) -> bool:
        return not done >> node & 1 or (node not in self.graph.single and not self.lasts[node] & done)

    def _bytes(self, held: int) -> int:
        return sum(self.graph.bytes[value] for value in _ones(held))


def _bits(numbers: Iterable[int]) -> int:
    return sum(1 << number for number in numbers)


def _ones(bits: int) -> Iterator[int]:
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low
