"""The lower bound: it holds whatever the messages are, and momentum reaches it in fewer rounds."""

from __future__ import annotations

import random

import numpy as np

from jogak.search.bounds import Dual
from jogak.search.exhaustive import best_by_enumeration, random_problem
from jogak.search.flat import flatten
from jogak.search.problem import Problem
from jogak.search.reductions import reduce


def skipping_chain(nodes: int) -> Problem:
    """A chain with edges over two and five nodes that often agree: messages have to go round many cycles."""
    generator = random.Random(5)
    costs = [[generator.randint(0, 100) for _ in range(4)] for _ in range(nodes)]
    edges = [(v, v + step) for step in (1, 2, 5) for v in range(nodes - step)]
    tables = [
        [0 if generator.random() < 0.3 or s == t else generator.randint(20, 100) for s in range(4) for t in range(4)]
        for _ in edges
    ]
    return Problem(costs, [[0] * 4] * nodes, [(0, 0)] * nodes, edges, tables, None)


def test_any_messages_prove_a_bound() -> None:
    generator = random.Random(11)
    checked = 0
    while checked < 100:
        problem = random_problem(generator, nodes=6, strategies=4)
        best = best_by_enumeration(problem)
        reduced = reduce(*flatten(problem))
        if best is None or not reduced.possible:
            continue
        dual = Dual(reduced.graph, reduced.memory)
        for _ in range(4):
            noise = np.random.default_rng(checked).normal(0, 50, len(dual._messages.to_left))
            dual._messages.to_left[:] += noise
            dual.iterate()
        assert dual.bound <= best
        checked += 1


def test_momentum_proves_in_a_quarter_of_the_rounds_what_plain_messages_prove() -> None:
    reduced = reduce(*flatten(skipping_chain(400)))
    quick, plain = Dual(reduced.graph, reduced.memory), Dual(reduced.graph, reduced.memory, momentum=0.0)
    for _ in range(50):
        quick.iterate()
    for _ in range(200):
        plain.iterate()
    assert quick.bound > plain.bound
