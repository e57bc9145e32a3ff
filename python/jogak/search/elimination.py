"""Variable elimination: variables without memory and with at most two neighbours leave the problem exactly.

Whatever its neighbours choose, such a variable answers with its cheapest state; what that costs becomes part of the
cost table of its two neighbours (bucket elimination of small degree; for these problems: Eckstein, Scholz et al.,
partitioned Boolean quadratic programming, reductions R1 and R2). Trees, chains and series-parallel graphs vanish.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from jogak.search.flat import Graph, Usage, offsets
from jogak.search.jit import INFINITY, Floats, Ints, Matrix, kernel
from jogak.search.memory import Memory
from jogak.search.reductions import Reduced

# Of one elimination, in operations, and the entries that a new cost table may have more than the two it replaces.
_MOST_WORK = 20_000_000
_MOST_GROWTH = 4.0


@dataclass(frozen=True)
class Step:
    """One eliminated variable: its costs, and its tables to the neighbours of that moment, one row for each state."""

    variable: int
    unary: Floats
    neighbours: tuple[int, ...]
    tables: tuple[Floats, ...]


@dataclass(frozen=True)
class Elimination:
    """What is left, and the way back.

    Attributes:
        graph: the variables that are left.
        kept: for each of them, its number before.
        steps: the eliminated variables, in the order of their elimination.
        size: number of variables before.
    """

    graph: Graph
    kept: Ints
    steps: tuple[Step, ...]
    size: int

    def decode(self, states: Ints) -> Ints:
        """The state of each variable before, from the states of those that are left."""
        choice = np.full(self.size, -1, np.int64)
        choice[self.kept] = states
        for step in reversed(self.steps):
            costs = step.unary.copy()
            for w, table in zip(step.neighbours, step.tables, strict=True):
                costs += table[:, choice[w]]
            choice[step.variable] = costs.argmin()
        return choice

    def usage(self, memory: Memory) -> Usage:
        """The memory of what is left, as of a problem of its own; eliminated variables have no segments."""
        renamed = np.full(self.size, -1, np.int64)
        renamed[self.kept] = np.arange(len(self.kept))
        owner = renamed[np.repeat(np.arange(self.size), np.diff(memory.row_of))]
        first = np.append(memory.rows, len(memory.amount))
        return Usage(owner, first, memory.amount, memory.lower, memory.upper, INFINITY, memory.capacity)


def eliminate(reduced: Reduced) -> Elimination:
    """Eliminate variables until each one left has memory, more than two neighbours, or too large tables."""
    graph, memory = reduced.graph, reduced.memory
    free = np.diff(memory.row_of) == 0
    unary = [graph.unary[a:b].copy() for a, b in zip(graph.first[:-1], graph.first[1:], strict=True)]
    tables = _tables(graph)
    steps: list[Step] = []
    queue = [(_work(graph.states, v, tables[v]), v) for v in np.flatnonzero(free).tolist() if len(tables[v]) in (1, 2)]
    heapq.heapify(queue)
    gone = np.zeros(graph.size, np.bool_)
    while queue:
        _, v = heapq.heappop(queue)
        if gone[v] or len(tables[v]) not in (1, 2) or not _worthwhile(graph.states, v, tables):
            continue
        steps.append(_eliminate_one(v, unary, tables))
        gone[v] = True
        for w in steps[-1].neighbours:
            if free[w] and len(tables[w]) in (1, 2):
                heapq.heappush(queue, (_work(graph.states, w, tables[w]), w))
    return Elimination(_remaining(graph, gone, unary, tables), np.flatnonzero(~gone), tuple(steps), graph.size)


def _tables(graph: Graph) -> list[dict[int, Floats]]:
    """For each variable: its neighbours, and the cost table with each, one row for each state of the variable."""
    tables: list[dict[int, Floats]] = [{} for _ in range(graph.size)]
    counts = graph.states.tolist()
    left, right, start = graph.left.tolist(), graph.right.tolist(), graph.table.tolist()
    for e, (a, b) in enumerate(zip(left, right, strict=True)):
        table = graph.pair[start[e] : start[e + 1]].reshape(counts[a], counts[b])
        tables[a][b], tables[b][a] = table, table.T
    return tables


def _work(counts: Ints, v: int, around: dict[int, Floats]) -> int:
    return int(counts[v] * np.prod(counts[list(around)]))


def _worthwhile(counts: Ints, v: int, tables: list[dict[int, Floats]]) -> bool:
    around = tables[v]
    if len(around) == 1:
        return True
    a, b = around
    replaced = counts[v] * (counts[a] + counts[b]) + (tables[a][b].size if b in tables[a] else 0)
    return bool(counts[a] * counts[b] <= _MOST_GROWTH * replaced) and _work(counts, v, around) <= _MOST_WORK


def _eliminate_one(v: int, unary: list[Floats], tables: list[dict[int, Floats]]) -> Step:
    around = tables[v]
    step = Step(v, unary[v], tuple(around), tuple(around.values()))
    for w in around:
        del tables[w][v]
    tables[v] = {}
    if len(step.neighbours) == 1:
        w = step.neighbours[0]
        unary[w] = unary[w] + (step.unary[:, None] + step.tables[0]).min(axis=0)
        return step
    a, b = step.neighbours
    table = cheapest_answers(step.unary, *map(np.ascontiguousarray, step.tables))
    if b in tables[a]:
        table += tables[a][b]
    tables[a][b], tables[b][a] = table, table.T
    return step


@kernel(fast=True)
def cheapest_answers(unary: Floats, one: Matrix, other: Matrix) -> Floats:
    """For each pair of states of two neighbours: what the cheapest state of the variable between them costs."""
    table = np.full((one.shape[1], other.shape[1]), INFINITY)
    for s in range(len(unary)):
        row = other[s]
        for a in range(one.shape[1]):
            base = unary[s] + one[s, a]
            if base == INFINITY:
                continue
            target = table[a]
            for b in range(len(row)):
                value = base + row[b]
                target[b] = value if value < target[b] else target[b]
    return table


def _remaining(graph: Graph, gone: np.ndarray, unary: list[Floats], tables: list[dict[int, Floats]]) -> Graph:
    kept = np.flatnonzero(~gone)
    renamed = np.full(graph.size, -1, np.int64)
    renamed[kept] = np.arange(len(kept))
    edges = [(v, w) for v in kept.tolist() for w in sorted(tables[v]) if v < w]
    ends = renamed[np.array(edges, dtype=np.int64).reshape(-1, 2)]
    flat = [np.ascontiguousarray(tables[v][w]).ravel() for v, w in edges]
    none = [np.zeros(0)]
    return Graph(
        offsets(graph.states[kept]),
        np.concatenate(none + [unary[v] for v in kept.tolist()]),
        np.ascontiguousarray(ends[:, 0]),
        np.ascontiguousarray(ends[:, 1]),
        offsets(np.array([len(table) for table in flat], dtype=np.int64)),
        np.concatenate(none + flat),
    )
