"""Plans for graphs of any size: a good start, then annealing. Deterministic unless the time runs out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jogak.memory.remat.anneal import anneal
from jogak.memory.remat.graph import RematGraph
from jogak.memory.remat.segments import cheapest_segments
from jogak.memory.remat.sequence import comes_before, simulate_sequence, without_waste
from jogak.memory.remat.timeline import EMPTY, Timeline, load, new_timeline, read

_HEAT, _COLD = 1e-3, 1e-6
_REPEATS = 16  # most computations of one node
_ROOM = 16  # slots for each node when the order is free
_MOST = 1_200_000  # most changes of one annealing
_PART = 20_000  # changes between two looks at the clock


class Search(NamedTuple):
    """What to look for, and how long.

    Attributes:
        budget: bytes that no step may exceed.
        enough: a cost that nothing goes below: the search stops there.
        deadline: `time.monotonic()` at which to stop.
        fixed_order: keep first computations in the order 0, 1, 2, …, and repeats in each stage in the order, too.
    """

    budget: int
    enough: float
    deadline: float
    fixed_order: bool


def fast_plan(graph: RematGraph, search: Search, starts: Sequence[Sequence[int]] = ()) -> list[int] | None:
    """The cheapest sequence that annealing finds within the budget, or None.

    Args:
        graph: nodes numbered in topological order.
        search: what to look for.
        starts: sequences to start from, the most promising first; the graph's order is the last one.
    """
    order = list(range(len(graph)))
    sequences = [*(list(start) for start in starts if comes_before(graph, start)), order]
    if search.fixed_order:
        sequences = [_in_stages(start) for start in sequences if list(dict.fromkeys(start)) == order]
    else:
        orders = dict.fromkeys(tuple(dict.fromkeys(start)) for start in sequences)
        sequences[-1:-1] = [cheapest_segments(graph, each, search.budget) for each in orders]
    best = _cheapest(graph, sequences, search.budget)
    seen: list[list[int]] = []
    for start in [*sequences, *([best] if best else [])]:
        if start in seen or time.monotonic() > search.deadline or _is_enough(graph, best, search):
            continue
        seen.append(start)
        found = _anneal(graph, start, search)
        best = _cheapest(graph, [plan for plan in (best, found) if plan is not None], search.budget)
    return best


def _is_enough(graph: RematGraph, plan: Sequence[int] | None, search: Search) -> bool:
    return plan is not None and sum(graph.cost[node] for node in plan) <= search.enough * (1 + 1e-9)


def _cheapest(graph: RematGraph, sequences: Sequence[list[int]], budget: int) -> list[int] | None:
    fitting = [(simulate_sequence(graph, sequence), sequence) for sequence in sequences]
    return min(((found.cost, sequence) for found, sequence in fitting if found.peak <= budget), default=(0.0, None))[1]


def _anneal(graph: RematGraph, start: Sequence[int], search: Search) -> list[int] | None:
    line = _stages(graph, start) if search.fixed_order else _free(graph, start)
    changes = min(_MOST, 3_000 * len(graph))
    part = np.full_like(line.slots, EMPTY)
    price = np.ones(1)
    lowest, best = math.inf, None
    for first in range(0, changes, _PART):
        last = min(first + _PART, changes)
        cost = anneal(line, search.budget, first, last, changes, _HEAT, _COLD, price, part)
        if cost < lowest:
            lowest, best = cost, read(part)
        if time.monotonic() > search.deadline or lowest <= search.enough * (1 + 1e-9):
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


def _in_stages(start: Sequence[int]) -> list[int]:
    """The repeats of each stage in rising order, each once."""
    nodes = sorted(dict(zip(_stage_slots(start), start, strict=True)).items())
    return [node for _, node in nodes]
