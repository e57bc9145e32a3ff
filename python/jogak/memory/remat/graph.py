"""A computation as plain data: what every node costs, how much memory its result takes, and who reads it."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from jogak.errors import JogakError


@dataclass(frozen=True)
class RematGraph:
    """A directed acyclic graph of `n` operations; node `i` makes value `i` and perhaps more, which other nodes read.

    A result that has to stay until the end is read by a last node of no cost and no size. A view is no node: who reads
    it reads the value behind it. An update in place is a node of no size, run once and after every reader of the old
    value (`before`); the value it overwrites is read by the last node.

    Attributes:
        cost: time to compute each node once, in any unit.
        size: bytes of each node's first value.
        edges: (value, consumer) pairs; repeated pairs count once.
        scratch: bytes that each node needs only while it runs; none by default.
        once: nodes that must not be computed a second time.
        names: what the user calls each node; its number by default.
        input_order: the nodes in the order of the input program; by number by default.
        extra: (producer, bytes) of the values n, n + 1, …: what nodes with several results make besides the first.
        before: (node, last) pairs: every computation of `node`, repeats too, comes before that of `last`, which is
            computed once.
        arguments: nodes that are there from the start: they come first in every sequence, and once.
        fixed: bytes that are in memory at every step, such as parameters.
    """

    cost: Sequence[float]
    size: Sequence[int]
    edges: Sequence[tuple[int, int]]
    scratch: Sequence[int] = ()
    once: frozenset[int] = field(default_factory=frozenset)
    names: Sequence[Hashable] = ()
    input_order: Sequence[int] = ()
    extra: Sequence[tuple[int, int]] = ()
    before: Sequence[tuple[int, int]] = ()
    arguments: frozenset[int] = field(default_factory=frozenset)
    fixed: int = 0

    def __len__(self) -> int:
        return len(self.cost)

    @cached_property
    def makers(self) -> list[int]:
        """The node that makes each value."""
        return [*range(len(self)), *(node for node, _ in self.extra)]

    @cached_property
    def bytes(self) -> list[int]:
        """The size of each value."""
        return [*self.size, *(size for _, size in self.extra)]

    @cached_property
    def outputs(self) -> list[list[int]]:
        """The values that each node makes, in rising order."""
        return _rows(len(self), ((node, value) for value, node in enumerate(self.makers)))

    @cached_property
    def reads(self) -> list[list[int]]:
        """The values that each node reads, in rising order."""
        return _rows(len(self), ((consumer, value) for value, consumer in self.edges))

    @cached_property
    def readers(self) -> list[list[int]]:
        """The nodes that read each value, in rising order."""
        return _rows(len(self.makers), self.edges)

    @cached_property
    def preds(self) -> list[list[int]]:
        """The nodes whose values each node reads, in rising order."""
        return _rows(len(self), ((consumer, self.makers[value]) for value, consumer in self.edges))

    @cached_property
    def succs(self) -> list[list[int]]:
        """The nodes that read values of each node, in rising order."""
        return _rows(len(self), ((self.makers[value], consumer) for value, consumer in self.edges))

    @cached_property
    def lasts(self) -> list[list[int]]:
        """The nodes before which all computations of each node come."""
        return _rows(len(self), self.before)

    @cached_property
    def single(self) -> frozenset[int]:
        """The nodes that are computed once."""
        return self.once | self.arguments | {last for _, last in self.before}

    @cached_property
    def order(self) -> list[int]:
        """The topological order that keeps to the input's: always the ready node that comes first there.

        Raises:
            JogakError: the graph has a cycle.
        """
        nodes = list(self.input_order) or list(range(len(self)))
        nodes.sort(key=lambda node: node not in self.arguments)
        rank = {node: index for index, node in enumerate(nodes)}
        edges = {*self.before, *((self.makers[value], consumer) for value, consumer in self.edges)}
        follow = _rows(len(self), edges)
        waiting = [0] * len(self)
        for _, later in edges:
            waiting[later] += 1
        ready = [index for index, node in enumerate(nodes) if waiting[node] == 0]
        order: list[int] = []
        while ready:
            order.append(nodes[heapq.heappop(ready)])
            for succ in follow[order[-1]]:
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

        def moved(value: int) -> int:
            return place.get(value, value)

        return RematGraph(
            [self.cost[node] for node in self.order],
            [self.size[node] for node in self.order],
            [(moved(value), place[consumer]) for value, consumer in self.edges],
            [self.scratch_of(node) for node in self.order],
            frozenset(place[node] for node in self.once),
            [self.name(node) for node in self.order],
            extra=[(place[node], size) for node, size in self.extra],
            before=[(place[node], place[last]) for node, last in self.before],
            arguments=frozenset(place[node] for node in self.arguments),
            fixed=self.fixed,
        )

    def _cycle(self, done: set[int]) -> list[Hashable]:
        node = next(node for node in range(len(self)) if node not in done)
        waits = _rows(len(self), ((last, earlier) for earlier, last in self.before))
        seen: list[int] = []
        while node not in seen:
            seen.append(node)
            node = next(pred for pred in [*self.preds[node], *waits[node]] if pred not in done)
        return [self.name(node) for node in [node, *reversed(seen[seen.index(node) :])]]


def check_graph(graph: RematGraph, where: str | None = None) -> None:
    """Check that the parts of a graph fit together.

    Raises:
        JogakError: lengths differ, an edge names no node, a cost or size is negative, an argument reads something, or
            there is a cycle.
    """
    nodes = range(len(graph))
    if len(graph.size) != len(nodes) or len(graph.scratch) not in (0, len(nodes)):
        raise JogakError("cost, size and scratch have different lengths", where=where)
    if graph.input_order and sorted(graph.input_order) != list(nodes):
        raise JogakError("the input order does not name every node once", where=where)
    _check_numbers(graph, where)
    for node in nodes:
        if not graph.cost[node] >= 0 or graph.size[node] < 0 or graph.scratch_of(node) < 0:
            raise JogakError(f"node {graph.name(node)} has a negative cost or size", where=where)
    if graph.fixed < 0 or any(size < 0 for _, size in graph.extra):
        raise JogakError("a size is negative", where=where)
    for node in graph.arguments:
        if graph.reads[node]:
            raise JogakError(f"argument {graph.name(node)} reads a value", where=where)
    try:
        _ = graph.order
    except JogakError as error:
        raise JogakError(error.message, where=where) from error


def _check_numbers(graph: RematGraph, where: str | None) -> None:
    nodes, values = range(len(graph)), range(len(graph) + len(graph.extra))
    for value, consumer in graph.edges:
        if value not in values or consumer not in nodes:
            raise JogakError(f"edge {value} -> {consumer} leads to no node", where=where)
    for first, last in graph.before:
        if first not in nodes or last not in nodes:
            raise JogakError(f"{first} before {last}: there is no such node", where=where)
    for node in [*graph.once, *graph.arguments, *(maker for maker, _ in graph.extra)]:
        if node not in nodes:
            raise JogakError(f"there is no node {node}", where=where)


def minimum_peak(graph: RematGraph) -> int:
    """Bytes that no schedule can go below: every node needs its inputs, its results and its scratch at once."""
    sizes = graph.bytes
    needs = (
        graph.scratch_of(node) + sum(sizes[value] for value in (*graph.outputs[node], *graph.reads[node]))
        for node in range(len(graph))
    )
    start = sum(sizes[value] for node in graph.arguments for value in graph.outputs[node] if graph.readers[value])
    return graph.fixed + max([*needs, start])


def _rows(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    found: list[set[int]] = [set() for _ in range(count)]
    for row, entry in pairs:
        found[row].add(entry)
    return [sorted(row) for row in found]
