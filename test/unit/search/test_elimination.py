"""Elimination keeps the optimum: what is left, solved and decoded, costs what the whole problem costs."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from jogak.search.elimination import eliminate
from jogak.search.exhaustive import best_by_enumeration, random_problem
from jogak.search.flat import flatten
from jogak.search.preparation import prepare
from jogak.search.problem import FORBIDDEN, Problem, evaluate
from jogak.search.reductions import reduce
from jogak.search.solve import solve_problem


def cycle(nodes: int, *, limit: int | None = None) -> Problem:
    generator = random.Random(nodes)
    costs = [[generator.randint(0, 100) for _ in range(4)] for _ in range(nodes)]
    edges = [(i, (i + 1) % nodes) for i in range(nodes)]
    tables = [[generator.randint(0, 100) for _ in range(16)] for _ in edges]
    return Problem(costs, [[4, 3, 2, 1]] * nodes, [(0, 1)] + [(0, 0)] * (nodes - 1), edges, tables, limit)


def test_series_parallel_graphs_vanish() -> None:
    problem = cycle(400)
    assert (prepare(*flatten(problem)).reduced.graph.states == 1).all()
    small = cycle(8)
    assert solve_problem(small, time_limit=20).cost == best_by_enumeration(small)


def test_variables_with_memory_stay() -> None:
    reduced = reduce(*flatten(cycle(50, limit=2)))
    elimination = eliminate(reduced)
    assert set(np.flatnonzero(np.diff(reduced.memory.row_of))) <= set(elimination.kept.tolist())
    small = cycle(8, limit=2)
    assert solve_problem(small, time_limit=20).cost == best_by_enumeration(small)


def test_choices_survive_the_way_there_and_back() -> None:
    generator = random.Random(5)
    layers = 0
    for _ in range(60):
        problem = replace(random_problem(generator, nodes=7, strategies=4), limit=None, extra_rows=())
        prepared = prepare(*flatten(problem))
        if not prepared.reduced.possible:
            continue
        layers += len(prepared.layers)
        states = np.array([generator.randrange(k) for k in prepared.reduced.graph.states.tolist()], dtype=np.int64)
        choice = prepared.expand(states)
        assert (prepared.collapse(choice) == states).all()
        assert evaluate(problem, choice.tolist())[0] < FORBIDDEN * 100
    assert layers > 5
