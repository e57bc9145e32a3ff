"""The problem as a mixed-integer program for HiGHS: exact where the reduced problem is small enough."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, vstack

from jogak.search.bound_kernels import occupy
from jogak.search.flat import Graph, offsets
from jogak.search.jit import INFINITY, Floats, Ints
from jogak.search.memory import Memory

# HiGHS works with absolute tolerances around 1e-6: costs and memory are scaled to where those are harmless.
_COST_SCALE = 1e6
_MEMORY_SCALE = 1e3
_FIRST_TIMES = 24
_MORE_TIMES = 24


@dataclass(frozen=True)
class MipResult:
    """What HiGHS found.

    Attributes:
        choice: a state for each variable; None when none was found.
        bound: no choice costs less, up to HiGHS's tolerances; infinite when there is no choice.
        proven: `choice` is optimal, or there is none.
    """

    choice: Ints | None
    bound: float
    proven: bool


def solve_mip(graph: Graph, memory: Memory, deadline: float) -> MipResult:
    """Minimize cost under the memory limit; memory rows are added for the times at which an answer overflows.

    Args:
        deadline: value of `time.monotonic()` at which to stop.
    """
    cost, consistency, right_side = _pairwise_rows(graph)
    finite = np.flatnonzero(cost < INFINITY)
    scale = max(float(np.abs(cost[finite]).max(initial=1.0)), 1.0) / _COST_SCALE
    integrality = (np.arange(len(cost)) < len(graph.unary)).astype(np.int64)[finite]
    consistency = consistency[:, finite]
    spread = np.linspace(0, max(len(memory.capacity) - 1, 0), min(len(memory.capacity), _FIRST_TIMES))
    times = np.unique(spread.astype(np.int64))
    profile = np.zeros(len(memory.capacity))
    while True:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return MipResult(None, -INFINITY, False)
        rows, room = _memory_rows(graph, memory, times, len(cost))
        constraints = [
            LinearConstraint(consistency, right_side, right_side),
            LinearConstraint(rows[:, finite], -INFINITY, room),
        ]
        with _stdout_to_stderr():
            answer = milp(
                cost[finite] / scale,
                integrality=integrality,
                bounds=Bounds(0, 1),
                constraints=constraints if len(times) else constraints[:1],
                options={"time_limit": remaining, "mip_rel_gap": 0.0},
            )
        if answer.status == 2:
            return MipResult(None, INFINITY, True)
        bound = -INFINITY if answer.mip_dual_bound is None else float(answer.mip_dual_bound) * scale
        if answer.x is None:
            return MipResult(None, bound, False)
        x = np.zeros(len(cost))
        x[finite] = answer.x
        choice = _round(graph, x)
        occupy(memory, choice, profile)
        worst = _worst_times(profile - memory.capacity)
        if len(worst) == 0 or np.isin(worst, times).all():
            return MipResult(choice, bound, answer.status == 0 and len(worst) == 0)
        times = np.union1d(times, worst)


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """HiGHS writes some diagnostics to the process's standard output even when silent; answers go there, so move them.

    The C library's buffers are flushed before the output is put back, or the text would appear there later.
    """
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        ctypes.CDLL(None).fflush(None)
        os.dup2(saved, 1)
        os.close(saved)


def _round(graph: Graph, x: Floats) -> Ints:
    order = np.lexsort((-x[: len(graph.unary)], np.repeat(np.arange(graph.size), graph.states)))
    return order[graph.first[:-1]] - graph.first[:-1]


def _worst_times(overflow: Floats) -> Ints:
    """Times with the largest overflow, not close to one another."""
    overflow = overflow.copy()
    apart = max(len(overflow) // 200, 1)
    found: list[int] = []
    while len(found) < _MORE_TIMES and overflow.max(initial=0) > 0:
        t = int(overflow.argmax())
        found.append(t)
        overflow[max(t - apart, 0) : t + apart] = 0
    return np.array(found, dtype=np.int64)


def _pairwise_rows(graph: Graph) -> tuple[Floats, csr_array, Floats]:
    """Costs of all columns (states, then entries of cost tables), and rows that tie entries to states."""
    states, entries = len(graph.unary), len(graph.pair)
    counts = graph.states
    edge = np.repeat(np.arange(len(graph.left)), np.diff(graph.table))
    entry = np.arange(entries) - graph.table[edge]
    width = counts[graph.right[edge]]
    row_left = offsets(counts[graph.left])
    row_right = offsets(counts[graph.right]) + row_left[-1]
    one = csr_array(
        (np.ones(states), (np.repeat(np.arange(graph.size), counts), np.arange(states))),
        shape=(graph.size, states + entries),
    )
    columns = states + np.arange(entries)
    ends = np.concatenate([graph.left, graph.right])
    state_rows = np.arange(row_right[-1] if len(ends) else 0)
    widths = counts[ends]
    state_columns = np.repeat(graph.first[ends] - offsets(widths)[:-1], widths) + state_rows
    row = np.concatenate([row_left[edge] + entry // width, row_right[edge] + entry % width, state_rows])
    column = np.concatenate([columns, columns, state_columns])
    value = np.concatenate([np.ones(2 * entries), -np.ones(len(state_rows))])
    ties = csr_array((value, (row, column)), shape=(len(state_rows), states + entries))
    right_side = np.concatenate([np.ones(graph.size), np.zeros(len(state_rows))])
    return np.concatenate([graph.unary, graph.pair]), vstack([one, ties], format="csr"), right_side


def _memory_rows(graph: Graph, memory: Memory, times: Ints, columns: int) -> tuple[csr_array, Floats]:
    owner = np.repeat(np.arange(graph.size), np.diff(memory.row_of))
    scale = max(float(memory.capacity.max(initial=1.0)), 1.0) / _MEMORY_SCALE
    row, column, value = [], [], []
    for r, t in enumerate(times):
        live = np.flatnonzero((memory.lower <= t) & (memory.upper > t))
        width = graph.states[owner[live]]
        within = np.arange(int(width.sum())) - np.repeat(offsets(width)[:-1], width)
        row.append(np.full(len(within), r))
        column.append(np.repeat(graph.first[owner[live]], width) + within)
        value.append(memory.amount[np.repeat(memory.rows[live], width) + within])
    shape = (len(times), columns)
    if not row:
        return csr_array(shape), np.zeros(0)
    entries = (np.concatenate(value) / scale, (np.concatenate(row), np.concatenate(column)))
    return csr_array(entries, shape=shape), memory.capacity[times] / scale
