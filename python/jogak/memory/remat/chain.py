"""A chain of equal layers and its backward pass: the optimum is known in closed form.

Griewank and Walther ("Algorithm 799: revolve", 2000): with s states in memory and the smallest r for which
C(s + r, s) >= l, reversing l steps takes r·l - C(s + r, r - 1) evaluations of a layer, the first pass included. Here
the state that is read and the one that is made are both in memory while a layer runs, and the gradients of input and
output while its backward runs; so s is what a budget leaves beside two states.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from math import comb
from typing import NamedTuple

from jogak.memory.remat.graph import RematGraph


class Chain(NamedTuple):
    """The parts of a chain: `forward[i]` makes state i + 1, `backward[i]` reverses step i + 1 and reads state i."""

    forward: list[int]
    seed: int
    backward: list[int]


def chain_graph(layers: int) -> RematGraph:
    """A chain of layers of cost 1 whose states and gradients take one byte each; the backward costs nothing.

    State 0 is an argument and takes no memory here, the last layer is part of the first backward step: there are
    `layers - 1` forward nodes, the seed of the gradient, and `layers` backward nodes.
    """
    forward, seed = list(range(layers - 1)), layers - 1
    backward = list(range(2 * layers - 1, layers - 1, -1))
    edges = [*pairwise(forward), (seed, seed + 1), *pairwise(range(layers, 2 * layers))]
    edges += list(zip(forward, backward[1:], strict=True))
    return RematGraph([1.0] * len(forward) + [0.0] * (layers + 1), [1] * (2 * layers), edges)


def least_evaluations(steps: int, slots: int) -> int:
    """The fewest layer evaluations, the first pass included, that reverse `steps` steps with `slots` states."""
    rounds = 0
    while comb(slots + rounds, slots) < steps:
        rounds += 1
    return rounds * steps - comb(slots + rounds, rounds - 1) if rounds else 0


def find_chain(graph: RematGraph) -> Chain | None:
    """Recognize a chain of equal layers; None when the graph is anything else.

    Args:
        graph: nodes numbered in topological order.
    """
    layers = len(graph) // 2
    if layers < 2 or len(graph) % 2 or not _is_plain(graph):
        return None
    like = chain_graph(layers)
    for seed_first in (False, True):
        chain = _chain(layers, seed_first)
        names = [*chain.forward, chain.seed, *chain.backward[::-1]]
        if set(graph.edges) == {(names[producer], names[consumer]) for producer, consumer in like.edges}:
            return chain if _equal(graph, chain) else None
    return None


def _is_plain(graph: RematGraph) -> bool:
    """Whether the graph has none of the features that a chain does without."""
    return not (graph.single or any(graph.scratch) or graph.extra or graph.fixed)


def _chain(layers: int, seed_first: bool) -> Chain:
    first = 1 if seed_first else 0
    forward = list(range(first, first + layers - 1))
    return Chain(forward, 0 if seed_first else layers - 1, list(range(2 * layers - 1, layers - 1, -1)))


def _equal(graph: RematGraph, chain: Chain) -> bool:
    states = {(graph.cost[node], graph.size[node]) for node in chain.forward}
    gradients = {graph.size[node] for node in [chain.seed, *chain.backward]}
    return len(states) == len(gradients) == 1 and 0 < graph.size[chain.forward[0]] <= graph.size[chain.seed]


def chain_slots(graph: RematGraph, chain: Chain, budget: int) -> int:
    """How many states the budget leaves beside those that a step moves; less than 1 when nothing fits."""
    state, gradient = graph.size[chain.forward[0]], graph.size[chain.seed]
    return (budget - 2 * gradient) // state


def chain_plan(chain: Chain, slots: int) -> list[int]:
    """A sequence with the fewest forward evaluations."""
    steps = list(_reverse(len(chain.backward), slots))
    last = next(index for index, (backward, _) in enumerate(steps) if backward)
    sequence = [chain.backward[step] if backward else chain.forward[step] for backward, step in steps]
    return [*sequence[:last], chain.seed, *sequence[last:]]


def _reverse(steps: int, slots: int) -> Iterator[tuple[bool, int]]:
    """(False, i) computes state i + 1, (True, i) reverses step i + 1."""
    waiting = [(0, steps, slots)]
    while waiting:
        first, count, free = waiting.pop()
        if count == 1:
            yield True, first
            continue
        middle = _split(count, free)
        yield from ((False, step) for step in range(first, first + middle))
        waiting += [(first, middle, free), (first + middle, count - middle, free - 1)]


@cache
def _split(steps: int, slots: int) -> int:
    """After how many steps to keep a state: the split whose halves take the fewest evaluations."""
    if slots == 1:
        return steps - 1
    splits = range(1, steps)
    return min(splits, key=lambda j: j + least_evaluations(steps - j, slots - 1) + least_evaluations(j, slots))
