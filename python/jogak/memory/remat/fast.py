"""Plans for graphs of any size: a good start, then annealing. Deterministic unless the time runs out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from jogak.memory.remat.anneal import anneal
from jogak.memory.remat.graph import RematGraph
from jogak.memory.remat.segments import cheapest_segments
from jogak.memory.remat.sequence import simulate_sequence, without_waste
from jogak.memory.remat.timeline import EMPTY, Timeline, load, new_timeline, read

_HEAT, _COLD = 1e-3, 1e-6
_REPEATS = 16  # most computations of one node
_ROOM = 16  # slots for each node when the order is free
_PART = 20_000  # changes between two looks at the clock


def fast_plan(
    graph: RematGraph, budget: int, *, fixed_order: bool, deadline: float, starts: Sequence[Sequence[int]] = ()
) -> list[int] | None:
    """The cheapest sequence that annealing finds within the budget, or None.

    Args:
        graph: nodes numbered in topological order.
        budget: bytes that no step may exceed.
        fixed_order: keep first computations in the order 0, 1, 2, …, and repeats in each stage in the order, too.
        deadline: `time.monotonic()` at which to stop.
        starts: sequences to start from, besides the graph's order.
    """
    sequences = [list(range(len(graph))), *map(list, starts)]
    if not fixed_order:
        orders = dict.fromkeys(tuple(dict.fromkeys(start)) for start in sequences)
        sequences += [cheapest_segments(graph, order, budget) for order in orders]
    best = _cheapest(graph, sequences, budget)
    seen: list[list[int]] = []
    for start in [*sequences, *([best] if best else [])]:
        if start in seen or time.monotonic() > deadline:
            continue
        seen.append(start)
        found = _anneal(graph, start, budget, fixed_order=fixed_order, deadline=deadline)
        best = _cheapest(graph, [plan for plan in (best, found) if plan is not None], budget)
    return best


def _cheapest(graph: RematGraph, sequences: Sequence[list[int]], budget: int) -> list[int] | None:
    fitting = [(simulate_sequence(graph, sequence), sequence) for sequence in sequences]
    return min(((found.cost, sequence) for found, sequence in fitting if found.peak <= budget), default=(0.0, None))[1]


def _anneal(
    graph: RematGraph, start: Sequence[int], budget: int, *, fixed_order: bool, deadline: float
) -> list[int] | None:
    line = _stages(graph, start) if fixed_order else _free(graph, start)
    changes = min(4_000_000, 3_000 * len(graph))
    part = np.full_like(line.slots, EMPTY)
    price = np.ones(1)
    lowest, best = math.inf, None
    for first in range(0, changes, _PART):
        cost = anneal(line, budget, first, min(first + _PART, changes), changes, _HEAT, _COLD, price, part)
        if cost < lowest:
            lowest, best = cost, read(part)
        if time.monotonic() > deadline:
            break
    return None if best is None else without_waste(graph, best)


def _free(graph: RematGraph, start: Sequence[int]) -> Timeline:
    room = _ROOM * max(len(graph), len(start))
    slots = 1 << (room - 1).bit_length()
    most = max((start.count(node) for node in set(start)), default=1)
    line = new_timeline(graph, slots, np.zeros(0, dtype=np.int64), 2 * most + _REPEATS)
    load(line, start, [(index + 1) * slots // (len(start) + 1) for index in range(len(start))])
    return line


def _stages(graph: RematGraph, start: Sequence[int]) -> Timeline:
    nodes = len(graph)
    points = nodes * (nodes + 1) // 2
    slots = 1 << max(points - 1, 1).bit_length()
    stage = np.zeros(slots, dtype=np.int64)
    for index in range(nodes):
        stage[index * (index + 1) // 2 : (index + 1) * (index + 2) // 2] = index
    line = new_timeline(graph, slots, stage, _REPEATS)
    load(line, start, _stage_slots(start))
    return line


def _stage_slots(start: Sequence[int]) -> list[int]:
    slots: list[int] = []
    stage = len(set(start)) - 1
    first = {node: step for step, node in reversed(list(enumerate(start)))}
    for step in reversed(range(len(start))):
        if first[start[step]] == step:
            stage = start[step]
        slots.append(stage * (stage + 1) // 2 + start[step])
    return slots[::-1]
