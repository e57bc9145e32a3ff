"""A computation as plain data: what every node costs, how much memory its result takes, and who reads it."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from jogak.errors import JogakError


@dataclass(frozen=True)
class RematGraph:
    """A directed acyclic graph of operations; node `i` makes one value that its successors read.

    A result that has to stay until the end is read by a last node of no cost and no size.

    Attributes:
        cost: time to compute each node once, in any unit.
        size: bytes of each node's value.
        edges: (producer, consumer) pairs; repeated pairs count once.
        scratch: bytes that each node needs only while it runs; none by default.
        once: nodes that must not be computed a second time.
        names: what the user calls each node; its number by default.
        input_order: the nodes in the order of the input program; by number by default.
    """

    cost: Sequence[float]
    size: Sequence[int]
    edges: Sequence[tuple[int, int]]
    scratch: Sequence[int] = ()
    once: frozenset[int] = field(default_factory=frozenset)
    names: Sequence[Hashable] = ()
    input_order: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.cost)

    @cached_property
    def preds(self) -> list[list[int]]:
        """What each node reads, in rising order."""
        return _neighbours(len(self), ((consumer, producer) for producer, consumer in self.edges))

    @cached_property
    def succs(self) -> list[list[int]]:
        """Who reads each node, in rising order."""
        return _neighbours(len(self), self.edges)

    @cached_property
    def order(self) -> list[int]:
        """The topological order that keeps to the input's: always the ready node that comes first there.

        Raises:
            JogakError: the graph has a cycle.
        """
        nodes = list(self.input_order) or list(range(len(self)))
        rank = {node: index for index, node in enumerate(nodes)}
        waiting = [len(preds) for preds in self.preds]
        ready = [index for index, node in enumerate(nodes) if waiting[node] == 0]
        order: list[int] = []
        while ready:
            order.append(nodes[heapq.heappop(ready)])
            for succ in self.succs[order[-1]]:
                waiting[succ] -= 1
                if waiting[succ] == 0:
                    heapq.heappush(ready, rank[succ])
        if len(order) < len(self):
            raise JogakError(f"the graph has a cycle: {' -> '.join(map(str, self._cycle(set(order))))}")
        return order

    @property
    def total_cost(self) -> float:
        """Time of one run of every node."""
        return sum(self.cost)

    def scratch_of(self, node: int) -> int:
        """Bytes that the node needs only while it runs."""
        return self.scratch[node] if self.scratch else 0

    def name(self, node: int) -> Hashable:
        """What the user calls the node."""
        return self.names[node] if self.names else node

    def in_order(self) -> RematGraph:
        """The same graph with its nodes renumbered along `order`, so that every edge rises."""
        place = {node: index for index, node in enumerate(self.order)}
        return RematGraph(
            [self.cost[node] for node in self.order],
            [self.size[node] for node in self.order],
            [(place[producer], place[consumer]) for producer, consumer in self.edges],
            [self.scratch_of(node) for node in self.order],
            frozenset(place[node] for node in self.once),
            [self.name(node) for node in self.order],
        )

    def _cycle(self, done: set[int]) -> list[Hashable]:
        node = next(node for node in range(len(self)) if node not in done)
        seen: list[int] = []
        while node not in seen:
            seen.append(node)
            node = next(pred for pred in self.preds[node] if pred not in done)
        return [self.name(node) for node in [node, *reversed(seen[seen.index(node) :])]]


def check_graph(graph: RematGraph, where: str | None = None) -> None:
    """Check that the parts of a graph fit together.

    Raises:
        JogakError: lengths differ, an edge names no node, a cost or size is negative, or there is a cycle.
    """
    nodes = range(len(graph))
    if len(graph.size) != len(nodes) or len(graph.scratch) not in (0, len(nodes)):
        raise JogakError("cost, size and scratch have different lengths", where=where)
    if graph.input_order and sorted(graph.input_order) != list(nodes):
        raise JogakError("the input order does not name every node once", where=where)
    for producer, consumer in graph.edges:
        if producer not in nodes or consumer not in nodes:
            raise JogakError(f"edge {producer} -> {consumer} leads to no node", where=where)
    for node in nodes:
        if not graph.cost[node] >= 0 or graph.size[node] < 0 or graph.scratch_of(node) < 0:
            raise JogakError(f"node {graph.name(node)} has a negative cost or size", where=where)
    try:
        _ = graph.order
    except JogakError as error:
        raise JogakError(error.message, where=where) from error


def minimum_peak(graph: RematGraph) -> int:
    """Bytes that no schedule can go below: every node needs its inputs, its result and its scratch at once."""
    needs = (
        graph.size[node] + graph.scratch_of(node) + sum(graph.size[pred] for pred in graph.preds[node])
        for node in range(len(graph))
    )
    return max(needs, default=0)


def _neighbours(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    found: list[set[int]] = [set() for _ in range(count)]
    for node, other in pairs:
        found[node].add(other)
    return [sorted(others) for others in found]
