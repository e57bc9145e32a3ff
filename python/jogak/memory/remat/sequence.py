"""What a sequence of computations costs and needs: the one definition of its peak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jogak.errors import JogakError
from jogak.memory.remat.graph import RematGraph


@dataclass(frozen=True)
class Simulation:
    """What running a sequence takes.

    Attributes:
        peak: the largest number of live bytes at one step.
        cost: summed cost of all steps, repeats included.
        live: live bytes at each step.
    """

    peak: int
    cost: float
    live: list[int]


def simulate_sequence(graph: RematGraph, sequence: Sequence[int]) -> Simulation:
    """Run a sequence of nodes, in which nodes may repeat, without running anything.

    A value is live from the step that computes it to the last step that reads it before it is computed again, at
    least for its own step; a step needs its inputs, its results and its scratch at once.

    Raises:
        JogakError: a node is missing, reads a value that was not computed, repeats although it must not, or comes
            after a node that it has to precede.
    """
    computed: dict[int, int] = {}
    last_use = [dict.fromkeys(graph.outputs[node], step) for step, node in enumerate(sequence)]
    for step, node in enumerate(sequence):
        for value in graph.reads[node]:
            maker = graph.makers[value]
            if maker not in computed:
                raise JogakError(f"node {graph.name(node)} reads {graph.name(maker)} before it is computed")
            last_use[computed[maker]][value] = step
        if node in computed and node in graph.single:
            raise JogakError(f"node {graph.name(node)} is computed twice")
        for last in graph.lasts[node]:
            if last in computed:
                raise JogakError(f"node {graph.name(node)} comes after {graph.name(last)}")
        if node in graph.arguments and step >= len(graph.arguments):
            raise JogakError(f"argument {graph.name(node)} is not at the start of the sequence")
        computed[node] = step
    if len(computed) < len(graph):
        missing = next(node for node in range(len(graph)) if node not in computed)
        raise JogakError(f"node {graph.name(missing)} is never computed")
    live = _live_bytes(graph, sequence, last_use)
    return Simulation(max(live, default=0), sum(graph.cost[node] for node in sequence), live)


def _live_bytes(graph: RematGraph, sequence: Sequence[int], last_use: Sequence[Mapping[int, int]]) -> list[int]:
    sizes = graph.bytes
    change = [0] * (len(sequence) + 1)
    for step, uses in enumerate(last_use):
        for value, last in uses.items():
            change[step] += sizes[value]
            change[last + 1] -= sizes[value]
    live: list[int] = []
    total = graph.fixed
    for step, node in enumerate(sequence):
        total += change[step]
        live.append(total + graph.scratch_of(node))
    return live


def comes_before(graph: RematGraph, sequence: Sequence[int]) -> bool:
    """Whether every node is computed for the last time before those that have to come after it."""
    place = {node: step for step, node in enumerate(sequence)}
    return all(place[node] < place[last] for node, last in graph.before)


def without_waste(graph: RematGraph, sequence: Sequence[int]) -> list[int]:
    """The sequence without repeats whose values nobody reads."""
    needed: set[int] = set()
    kept: list[int] = []
    first = {node: step for step, node in reversed(list(enumerate(sequence)))}
    for step in reversed(range(len(sequence))):
        node = sequence[step]
        if node not in needed and first[node] != step:
            continue
        needed.discard(node)
        needed.update(graph.preds[node])
        kept.append(node)
    return kept[::-1]
