"""Memory over time as the reduced problem sees it: only differences between states, only times that can overflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from jogak.search.flat import Usage, offsets
from jogak.search.jit import INFINITY, Bools, Floats, Ints, kernel

Segments: TypeAlias = tuple[Ints, Ints, Ints, Ints, Floats]


@dataclass(frozen=True)
class Memory:
    """What each variable occupies beyond its least possible usage, in segments of constant usage.

    Attributes:
        row_of: `row_of[v]:row_of[v + 1]` are the segments of variable v.
        lower, upper: half-open range of times of each segment, as indices into `capacity`.
        rows: where the usages of each segment start in `amount`, one for each state of its variable.
        amount: usage beyond the least; the least over the states is 0.
        capacity: what is left at each time when every variable takes its least usage; negative means infeasible.
    """

    row_of: Ints
    lower: Ints
    upper: Ints
    rows: Ints
    amount: Floats
    capacity: Floats

    @property
    def segments(self) -> Segments:
        """Everything but the capacity, as the kernels of the primal search take it."""
        return self.row_of, self.lower, self.upper, self.rows, self.amount


def crowded_times(usage: Usage) -> Ints:
    """Times at which the set of rows in memory is not contained in the set of another time, sorted."""
    if usage.capacity is not None:
        return np.arange(len(usage.capacity))
    used = usage.lower < usage.upper
    lower, upper = usage.lower[used], usage.upper[used]
    if usage.amount.min(initial=0) < 0:
        return np.unique(np.concatenate([lower, upper]))
    starts, ends = np.unique(lower), np.unique(upper)
    # A start is crowded when some interval ends before the next start: otherwise the next one holds all of its nodes.
    next_end = ends[np.minimum(np.searchsorted(ends, starts, side="right"), len(ends) - 1)] if len(ends) else ends
    following = np.append(starts[1:], np.iinfo(np.int64).max)
    return starts[next_end <= following]


def build_memory(usage: Usage, states: Ints, root: Ints, position: Ints, state: Ints) -> Memory:
    """Sum the usages of all nodes that became one variable, and drop what can never bind.

    Args:
        usage: of the nodes as they were given.
        states: number of states of each variable of the reduced problem.
        root: the variable of each node.
        position, state: `state[position[i] + s]` is the strategy of node i when its variable is in state s.
    """
    if usage.limit == INFINITY and usage.capacity is None:
        return _empty(len(states))
    times = crowded_times(usage)
    used = np.flatnonzero(usage.lower < usage.upper)
    lower, upper = np.searchsorted(times, usage.lower[used]), np.searchsorted(times, usage.upper[used])
    when = np.concatenate([lower, upper])
    row = np.tile(used, 2)
    sign = np.repeat(np.array([1, -1]), len(used))
    order = np.lexsort((when, root[usage.node[row]]))
    when, row, sign = when[order], row[order], sign[order]
    node = usage.node[row]
    width = states[root[node]]
    amount = np.zeros(int(width.sum()))
    change = np.zeros(len(times) + 1)
    owner, lower, upper, rows = (np.zeros(len(when), np.int64) for _ in range(4))
    peak = np.zeros(len(times) + 1)
    count = sum_segments(
        when, node, sign, root, states, position, state, usage.first[row], usage.amount, change, peak,
        owner, lower, upper, rows, amount,
    )  # fmt: skip
    capacity = (usage.limit if usage.capacity is None else usage.capacity) - np.cumsum(change)[:-1]
    binding = np.cumsum(peak)[:-1] > capacity
    binding |= capacity < 0
    return _compress(owner[:count], lower[:count], upper[:count], rows[:count], amount, capacity, binding, states)


def _empty(size: int) -> Memory:
    none = np.zeros(0, np.int64)
    return Memory(np.zeros(size + 1, np.int64), none, none, none, np.zeros(0), np.zeros(0))


def _compress(
    owner: Ints, lower: Ints, upper: Ints, rows: Ints, amount: Floats, capacity: Floats, binding: Bools, states: Ints
) -> Memory:
    """Keep only the binding times, and the segments that cover one."""
    kept = np.concatenate([np.zeros(1, np.int64), np.cumsum(binding, dtype=np.int64)])
    lower, upper = kept[lower], kept[upper]
    useful = lower < upper
    owner, lower, upper, rows = owner[useful], lower[useful], upper[useful], rows[useful]
    width = states[owner]
    entries = np.repeat(rows - offsets(width)[:-1], width) + np.arange(int(width.sum()))
    row_of = offsets(np.bincount(owner, minlength=len(states)))
    return Memory(row_of, lower, upper, offsets(width)[:-1], amount[entries], capacity[binding])


@kernel(
    "i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], f8[::1], f8[::1], f8[::1],"
    "i8[::1], i8[::1], i8[::1], i8[::1], f8[::1]"
)
def sum_segments(
    when: Ints,
    node: Ints,
    sign: Ints,
    root: Ints,
    states: Ints,
    position: Ints,
    state: Ints,
    first: Ints,
    usage: Floats,
    change: Floats,
    peak: Floats,
    owner: Ints,
    lower: Ints,
    upper: Ints,
    rows: Ints,
    amount: Floats,
) -> int:
    """Sweep over the events of each variable and write its segments; returns their number.

    Args:
        when, node, sign: the events, sorted by variable and time: a row of a node starts (1) or ends (-1) to occupy
            memory.
        first: where the usages of the row of each event start in `usage`.
        change: filled with the changes over time of the summed least usages.
        peak: filled with the changes over time of the summed largest usages beyond the least.
        owner, lower, upper, rows, amount: filled, as in `Memory`.
    """
    current = np.zeros(states.max() if len(states) else 0)
    count, written = 0, 0
    for p in range(len(when)):
        v = root[node[p]]
        k = states[v]
        if p == 0 or root[node[p - 1]] != v:
            current[:k] = 0
        i = node[p]
        for s in range(k):
            current[s] += sign[p] * usage[first[p] + state[position[i] + s]]
        if p + 1 == len(when) or root[node[p + 1]] != v or when[p + 1] == when[p]:
            continue
        least, most = current[:k].min(), current[:k].max()
        change[when[p]] += least
        change[when[p + 1]] -= least
        if least == most:
            continue
        peak[when[p]] += most - least
        peak[when[p + 1]] -= most - least
        owner[count], lower[count], upper[count], rows[count] = v, when[p], when[p + 1], written
        for s in range(k):
            amount[written + s] = current[s] - least
        written += k
        count += 1
    return count


@kernel("i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], f8[::1], f8[::1], f8[::1]")
def remove_oversized(
    first: Ints, row_of: Ints, lower: Ints, upper: Ints, rows: Ints, amount: Floats, capacity: Floats, unary: Floats
) -> int:
    """Make states impossible that overflow memory even with the least usage elsewhere. Returns how many."""
    removed = 0
    for v in range(len(first) - 1):
        for q in range(row_of[v], row_of[v + 1]):
            room = capacity[lower[q] : upper[q]].min()
            for s in range(first[v + 1] - first[v]):
                if amount[rows[q] + s] > room and unary[first[v] + s] < INFINITY:
                    unary[first[v] + s] = INFINITY
                    removed += 1
    return removed
