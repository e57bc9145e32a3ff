"""What a sequence of computations costs and needs: the one definition of its peak."""

from __future__ import annotations

from collections.abc import Sequence
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
    least for its own step; a step needs its inputs, its result and its scratch at once.

    Raises:
        JogakError: a node is missing, reads a value that was not computed, or repeats although it must not.
    """
    computed: dict[int, int] = {}
    last_use = list(range(len(sequence)))
    for step, node in enumerate(sequence):
        for pred in graph.preds[node]:
            if pred not in computed:
                raise JogakError(f"node {graph.name(node)} reads {graph.name(pred)} before it is computed")
            last_use[computed[pred]] = step
        if node in computed and node in graph.once:
            raise JogakError(f"node {graph.name(node)} is computed twice")
        computed[node] = step
    if len(computed) < len(graph):
        missing = next(node for node in range(len(graph)) if node not in computed)
        raise JogakError(f"node {graph.name(missing)} is never computed")
    live = _live_bytes(graph, sequence, last_use)
    return Simulation(max(live, default=0), sum(graph.cost[node] for node in sequence), live)


def _live_bytes(graph: RematGraph, sequence: Sequence[int], last_use: Sequence[int]) -> list[int]:
    change = [0] * (len(sequence) + 1)
    for step, node in enumerate(sequence):
        change[step] += graph.size[node]
        change[last_use[step] + 1] -= graph.size[node]
    live: list[int] = []
    total = 0
    for step, node in enumerate(sequence):
        total += change[step]
        live.append(total + graph.scratch_of(node))
    return live


def without_waste(graph: RematGraph, sequence: Sequence[int]) -> list[int]:
    """The sequence without repeats whose value nobody reads."""
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
