"""Moves in forests: they never cost more, never need memory that is not there, and solve trees to optimality."""

from __future__ import annotations

import random

import numpy as np
import pytest

from jogak.search.bound_kernels import cost_of, occupy
from jogak.search.exhaustive import best_by_enumeration, random_problem
from jogak.search.flat import Graph, flatten, incidence
from jogak.search.forest_kernels import ball, grow_forest, mark_safe, move_forest
from jogak.search.jit import Ints
from jogak.search.memory import Memory
from jogak.search.problem import Problem
from jogak.search.reductions import reduce


def move(graph: Graph, memory: Memory, choice: Ints, candidates: Ints, share: bool) -> int:
    sequence, via = np.empty(graph.size, np.int64), np.empty(graph.size, np.int64)
    allowed, around = np.ones(len(graph.unary), np.bool_), incidence(graph)
    count = grow_forest(graph, around, candidates, sequence, via)
    picked = sequence[:count]
    profile = usage(graph, memory, choice)
    mark_safe(graph, memory, profile, picked, choice, share, allowed)
    move_forest(graph, around, picked, via, allowed, choice)
    inside = np.isin(graph.left, picked) & np.isin(graph.right, picked)
    assert inside.sum() == (via[picked] >= 0).sum()
    return count


def cost(graph: Graph, choice: Ints) -> float:
    return cost_of(graph, choice)


def usage(graph: Graph, memory: Memory, choice: Ints) -> np.ndarray:
    profile = np.zeros(len(memory.capacity))
    occupy(memory, choice, profile)
    return profile


def test_a_tree_is_solved_in_one_move() -> None:
    generator = random.Random(2)
    costs = [[generator.randint(0, 100) for _ in range(3)] for _ in range(8)]
    edges = [(generator.randrange(i), i) if i % 2 else (i, generator.randrange(i)) for i in range(1, 8)]
    tables = [[generator.randint(0, 100) for _ in range(9)] for _ in edges]
    problem = Problem(costs, [[0] * 3] * 8, [(0, 0)] * 8, edges, tables, None)
    graph, _ = flatten(problem)
    low = np.minimum(graph.left, graph.right)
    assert (low < np.maximum(graph.left, graph.right)).all()
    none = np.zeros(0, np.int64)
    memory = Memory(np.zeros(9, np.int64), none, none, none, np.zeros(0), np.zeros(0))
    choice = np.zeros(8, np.int64)
    assert move(graph, memory, choice, np.random.default_rng(1).permutation(8), True) == 8
    assert cost(graph, choice) == best_by_enumeration(problem)


@pytest.mark.parametrize("share", [True, False])
def test_moves_keep_to_memory_and_never_cost_more(share: bool) -> None:
    generator, order = random.Random(11), np.random.default_rng(0)
    improved = 0
    for _ in range(200):
        reduced = reduce(*flatten(random_problem(generator, nodes=9)))
        graph, memory = reduced.graph, reduced.memory
        if not reduced.possible or graph.size == 0:
            continue
        choice = np.array([generator.randrange(k) for k in graph.states.tolist()], dtype=np.int64)
        before = cost(graph, choice)
        if before == np.inf or (usage(graph, memory, choice) > memory.capacity).any():
            continue
        move(graph, memory, choice, order.permutation(graph.size), share)
        assert cost(graph, choice) <= before
        assert (usage(graph, memory, choice) <= memory.capacity).all()
        improved += cost(graph, choice) < before
    assert improved > 10


def test_a_ball_holds_the_nearest_variables() -> None:
    ends = np.arange(9, dtype=np.int64)
    graph = Graph(np.arange(11, dtype=np.int64), np.zeros(10), ends, ends + 1, np.arange(10), np.zeros(9))
    inside = np.empty(10, np.int64)
    count = ball(graph, incidence(graph), 4, 5, inside)
    assert (count, set(inside[:count].tolist())) == (5, {2, 3, 4, 5, 6})
