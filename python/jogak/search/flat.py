"""The problem in flat arrays, as the kernels want it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np

from jogak.search.jit import INFINITY, Floats, Ints
from jogak.search.problem import FORBIDDEN, Problem


@dataclass(frozen=True)
class Graph:
    """Variables with states, and costs of states and of pairs of states; impossible ones are infinite.

    Attributes:
        first: `first[v]:first[v + 1]` are the states of variable v; one entry more than variables.
        unary: cost of each state.
        left, right: the two variables of each edge.
        table: `table[e]:table[e + 1]` is the cost table of edge e, rows for the states of `left`.
        pair: the cost tables.
    """

    first: Ints
    unary: Floats
    left: Ints
    right: Ints
    table: Ints
    pair: Floats

    @property
    def size(self) -> int:
        """Number of variables."""
        return len(self.first) - 1

    @property
    def states(self) -> Ints:
        """Number of states of each variable."""
        return np.diff(self.first)


@dataclass(frozen=True)
class Usage:
    """The memory that each node of the problem as it was given occupies.

    Attributes:
        first: the states of each node, as in `Graph`.
        amount: usage of each state.
        lower, upper: the half-open interval of each node; empty when the node occupies no memory.
        limit: infinite when there is none.
    """

    first: Ints
    amount: Floats
    lower: Ints
    upper: Ints
    limit: float


def offsets(counts: Ints) -> Ints:
    """Where each group starts when groups of these sizes follow one another, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def incidence(graph: Graph) -> tuple[Ints, Ints]:
    """The edges of each variable: where its list starts, and the lists one after another."""
    ends = np.concatenate([graph.left, graph.right])
    edges = np.tile(np.arange(len(graph.left), dtype=np.int64), 2)
    order = np.argsort(ends, kind="stable")
    return offsets(np.bincount(ends, minlength=graph.size)), edges[order]


def flatten(problem: Problem) -> tuple[Graph, Usage]:
    """Put a problem into flat arrays; what is impossible becomes infinite."""
    first = offsets(np.array([len(row) for row in problem.costs], dtype=np.int64))
    unary = np.fromiter(chain.from_iterable(problem.costs), np.float64)
    amount = np.fromiter(chain.from_iterable(problem.usages), np.float64)
    unary[(unary >= FORBIDDEN) | (amount >= FORBIDDEN)] = INFINITY
    amount[amount >= FORBIDDEN] = 0
    ends = np.array(problem.edges, dtype=np.int64).reshape(-1, 2)
    table = offsets(np.array([len(row) for row in problem.edge_costs], dtype=np.int64))
    pair = np.fromiter(chain.from_iterable(problem.edge_costs), np.float64)
    pair[pair >= FORBIDDEN] = INFINITY
    times = np.array(problem.intervals, dtype=np.int64).reshape(-1, 2)
    limit = INFINITY if problem.limit is None else float(problem.limit)
    graph = Graph(first, unary, np.ascontiguousarray(ends[:, 0]), np.ascontiguousarray(ends[:, 1]), table, pair)
    return graph, Usage(first, amount, np.ascontiguousarray(times[:, 0]), np.ascontiguousarray(times[:, 1]), limit)
