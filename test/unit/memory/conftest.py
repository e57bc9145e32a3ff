from __future__ import annotations

import heapq
import itertools
import math
import random

import pytest

from jogak.memory.remat import RematGraph


@pytest.fixture(scope="session")
def random_graph():
    """Makes a graph of `nodes` nodes from a seed; every node but the last is read by a later one."""

    def make(nodes: int, seed: int, *, scratch: bool = False) -> RematGraph:
        draw = random.Random(seed)
        edges = [(node, draw.randrange(node + 1, nodes)) for node in range(nodes - 1)]
        edges += [tuple(sorted(draw.sample(range(nodes), 2))) for _ in range(nodes)]
        return RematGraph(
            [draw.randint(0, 9) for _ in range(nodes)],
            [draw.randint(1, 9) for _ in range(nodes)],
            sorted(set(edges)),
            [draw.randint(0, 3) for _ in range(nodes)] if scratch else (),
        )

    return make


@pytest.fixture(scope="session")
def training_graph(random_graph):
    """Makes a random graph with all that a training step has: arguments, updates in place, several values a node."""

    def make(nodes: int, seed: int) -> RematGraph:
        draw, plain = random.Random(seed), random_graph(nodes, seed, scratch=True)
        arguments = [node for node in range(nodes // 3) if not plain.preds[node]]
        makers = draw.sample(range(nodes // 3, nodes - 1), 3)
        extra = [(maker, draw.randint(1, 9)) for maker in makers]
        edges = [(nodes + index, draw.randrange(maker + 1, nodes)) for index, maker in enumerate(makers)]
        last = draw.randrange(nodes // 2, nodes - 1)
        before = [
            (node, last)
            for node in draw.sample(range(nodes // 3, last), min(3, last - nodes // 3))
            if node not in arguments
        ]
        return RematGraph(
            plain.cost,
            plain.size,
            [*plain.edges, *edges],
            plain.scratch,
            extra=extra,
            before=before,
            arguments=frozenset(arguments),
            fixed=7,
        )

    return make


@pytest.fixture(scope="session")
def least_cost():
    """The least cost of any sequence within a budget: shortest path over (computed once, in memory), by brute force."""

    def search(graph: RematGraph, budget: int, *, fixed_order: bool) -> float:
        nodes = range(len(graph))
        queue, counter, seen = [(0.0, 0, frozenset(), frozenset())], itertools.count(1), set()
        while queue:
            cost, _, done, held = heapq.heappop(queue)
            if (done, held) in seen:
                continue
            seen.add((done, held))
            if len(done) == len(graph):
                return cost
            for node in nodes:
                first = node not in done
                if not set(graph.preds[node]) <= held or node in held or (fixed_order and first and node != len(done)):
                    continue
                need = sum(graph.size[other] for other in held) + graph.size[node] + graph.scratch_of(node)
                if need <= budget:
                    state = (cost + graph.cost[node], next(counter), done | {node}, held | {node})
                    heapq.heappush(queue, state)
            for node in held:
                heapq.heappush(queue, (cost, next(counter), done, held - {node}))
        return math.inf

    return search
