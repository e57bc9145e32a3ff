"""The search judged by enumeration: random small problems, and their best choice found by trying all."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from jogak.search.jit import INFINITY, Floats
from jogak.search.problem import FORBIDDEN, Problem


def random_problem(generator: random.Random, *, nodes: int = 10, strategies: int = 5) -> Problem:
    """A random problem of at most so many nodes and strategies, with ties, parallel edges and forbidden pairs.

    Its limit is drawn between what always fits and what never does, so that some problems have no feasible choice.
    """
    size = generator.randint(1, nodes)
    counts = [generator.randint(1, strategies) for _ in range(size)]
    costs = [[_cost(generator, 0.05) for _ in range(count)] for count in counts]
    usages = [[generator.randint(0, 30) for _ in range(count)] for count in counts]
    intervals = [sorted((generator.randint(0, 6), generator.randint(0, 6))) for _ in counts]
    pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
    edges = [generator.choice(pairs) for _ in range(generator.randint(0, 2 * size))] if pairs else []
    tables = [_table(generator, counts[i], counts[j]) for i, j in edges]
    limit = generator.choice([None, generator.randint(0, 20 * size), generator.randint(5 * size, 15 * size)])
    owners = [generator.randrange(size) for _ in range(generator.choice([0, 0, 1, size]))]
    extra_rows = [(i, *_row(generator, counts[i])) for i in owners]
    return Problem(costs, usages, intervals, edges, tables, limit, extra_rows)


def _row(generator: random.Random, count: int) -> tuple[list[int], list[int]]:
    interval = sorted((generator.randint(0, 6), generator.randint(0, 6)))
    return interval, [FORBIDDEN if generator.random() < 0.02 else generator.randint(0, 15) for _ in range(count)]


def _cost(generator: random.Random, forbidden: float) -> int:
    return FORBIDDEN if generator.random() < forbidden else generator.choice([0, generator.randint(-5, 100)])


def _table(generator: random.Random, rows: int, columns: int) -> list[int]:
    if rows == columns and generator.random() < 0.3:
        return [0 if s == t else FORBIDDEN for s in range(rows) for t in range(columns)]
    return [_cost(generator, 0.1) for _ in range(rows * columns)]


def best_by_enumeration(problem: Problem) -> int | None:
    """The least cost of a feasible choice, from a table of all choices; None when there is none.

    Costs must be so small that doubles hold their sums exactly.
    """
    shape = tuple(len(row) for row in problem.costs)
    total = np.zeros(shape)
    for i, row in enumerate(problem.costs):
        total += _along(_finite(row), shape, i)
    for i, _, usage in problem.rows():
        total += _along(np.array([INFINITY if u >= FORBIDDEN else 0.0 for u in usage]), shape, i)
    for (i, j), table in zip(problem.edges, problem.edge_costs, strict=True):
        costs = _finite(table).reshape(shape[i], shape[j])
        total += _along(costs if i < j else costs.T, shape, *sorted((i, j)))
    if problem.limit is not None:
        for time in {lower for _, (lower, upper), _ in problem.rows() if lower < upper}:
            live = [(i, usage) for i, (lower, upper), usage in problem.rows() if lower <= time < upper]
            used = np.zeros(shape)
            for i, usage in live:
                used += _along(np.array(usage, dtype=np.float64), shape, i)
            total[used > problem.limit] = INFINITY
    least = float(total.min())
    return None if least == INFINITY else int(least)


def _finite(costs: Sequence[int]) -> Floats:
    return np.array([INFINITY if cost >= FORBIDDEN else float(cost) for cost in costs])


def _along(values: Floats, shape: tuple[int, ...], *axes: int) -> Floats:
    """Values of one or two nodes, in increasing order, as a table that broadcasts over all choices."""
    return values.reshape([size if axis in axes else 1 for axis, size in enumerate(shape)])
