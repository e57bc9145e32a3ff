"""The problem in flat arrays, as the kernels want it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np

from jogak.search.jit import INFINITY, Floats, Ints, helper
from jogak.search.problem import FORBIDDEN, Problem


class Graph(NamedTuple):
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


class Incidence(NamedTuple):
    """The edges of each variable: `edges[begin[v]:begin[v + 1]]` are those of variable v."""

    begin: Ints
    edges: Ints


@dataclass(frozen=True)
class Usage:
    """The memory that the nodes of the problem as it was given occupy, in rows: one or more for each node.

    Attributes:
        node: the node of each row.
        first: `first[r]:first[r + 1]` are the usages of row r in `amount`, one for each strategy of its node.
        amount: the usages.
        lower, upper: the half-open interval of each row; empty when the row occupies no memory.
        limit: infinite when there is none.
        capacity: instead of `limit`, what each of the times 0, 1, … has room for.
    """

    node: Ints
    first: Ints
    amount: Floats
    lower: Ints
    upper: Ints
    limit: float
    capacity: Floats | None = None


def offsets(counts: Ints) -> Ints:
    """Where each group starts when groups of these sizes follow one another, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def incidence(graph: Graph) -> Incidence:
    """The edges of each variable."""
    ends = np.concatenate([graph.left, graph.right])
    edges = np.tile(np.arange(len(graph.left), dtype=np.int64), 2)
    order = np.argsort(ends, kind="stable")
    return Incidence(offsets(np.bincount(ends, minlength=graph.size)), edges[order])


@helper()
def other_end(graph: Graph, e: int, v: int) -> int:
    """The variable at the other end of an edge of v."""
    return int(graph.right[e] if graph.left[e] == v else graph.left[e])


@helper()
def costs_beside(graph: Graph, e: int, v: int, state: int) -> tuple[int, int]:
    """Where in `pair` the costs of v's states along edge e start while its other end is in a state, and their step."""
    width = graph.first[graph.right[e] + 1] - graph.first[graph.right[e]]
    if graph.left[e] == v:
        return graph.table[e] + state, width
    return graph.table[e] + state * width, 1


def flatten(problem: Problem) -> tuple[Graph, Usage]:
    """Put a problem into flat arrays; what is impossible becomes infinite."""
    first, unary = _join(problem.costs)
    unary[unary >= FORBIDDEN] = INFINITY
    ends = np.array(problem.edges, dtype=np.int64).reshape(-1, 2)
    table, pair = _join(problem.edge_costs)
    pair[pair >= FORBIDDEN] = INFINITY
    usage = _flat_usage(problem)
    impossible = np.flatnonzero(usage.amount >= FORBIDDEN)
    row = np.searchsorted(usage.first, impossible, side="right") - 1
    unary[first[usage.node[row]] + impossible - usage.first[row]] = INFINITY
    usage.amount[impossible] = 0
    graph = Graph(first, unary, np.ascontiguousarray(ends[:, 0]), np.ascontiguousarray(ends[:, 1]), table, pair)
    return graph, usage


def _flat_usage(problem: Problem) -> Usage:
    extra = problem.extra_rows
    node = np.array([*range(len(problem.costs)), *(row[0] for row in extra)], dtype=np.int64)
    first, amount = _join([*problem.usages, *(row[2] for row in extra)])
    times = np.array([*problem.intervals, *(row[1] for row in extra)], dtype=np.int64).reshape(-1, 2)
    limit = INFINITY if problem.limit is None else float(problem.limit)
    lower, upper = np.ascontiguousarray(times[:, 0]), np.ascontiguousarray(times[:, 1])
    return Usage(node, first, amount, lower, upper, limit)


def _join(rows: Sequence[Sequence[int]]) -> tuple[Ints, Floats]:
    """Where each row starts, and the rows one after another as doubles."""
    first = offsets(np.fromiter(map(len, rows), np.int64, len(rows)))
    if rows and all(isinstance(row, np.ndarray) for row in rows):
        return first, np.concatenate(rows).astype(np.float64)
    return first, np.fromiter(chain.from_iterable(rows), np.float64, first[-1])
