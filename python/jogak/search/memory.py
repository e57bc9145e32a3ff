"""Memory over time as the reduced problem sees it: only differences between states, only times that can overflow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jogak.search.flat import Graph, Usage, offsets
from jogak.search.jit import INFINITY, Bools, Floats, Ints, kernel


class Memory(NamedTuple):
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
    owner, lower, upper, rows = (np.zeros(len(when), np.int64) for _ in range(4))
    amount, change, peak = np.zeros(int(width.sum())), np.zeros(len(times) + 1), np.zeros(len(times) + 1)
    out = Written(owner, lower, upper, rows, amount, change, peak)
    count = sum_segments(Events(when, node, sign, usage.first[row]), usage.amount, root, states, position, state, out)
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


class Events(NamedTuple):
    """The rows of nodes that start (sign 1) or end (-1) to occupy memory, sorted by variable and time.

    `first` says where the usages of an event's row start.
    """

    when: Ints
    node: Ints
    sign: Ints
    first: Ints


class Written(NamedTuple):
    """Room for the segments that are written, and for what they leave of the capacity.

    Attributes:
        owner: the variable of each segment.
        lower, upper, rows, amount: as in `Memory`.
        change: changes over time of the summed least usages.
        peak: changes over time of the summed largest usages beyond the least.
    """

    owner: Ints
    lower: Ints
    upper: Ints
    rows: Ints
    amount: Floats
    change: Floats
    peak: Floats


@kernel()
def sum_segments(
    events: Events, usage: Floats, root: Ints, states: Ints, position: Ints, state: Ints, out: Written
) -> int:
    """Sweep over the events of each variable and write its segments; returns their number.

    Args:
        usage: the usages of all rows.
        root, states, position, state: as in `build_memory`.
        out: filled.
    """
    when, node, sign, first = events
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
        out.change[when[p]] += least
        out.change[when[p + 1]] -= least
        if least == most:
            continue
        out.peak[when[p]] += most - least
        out.peak[when[p + 1]] -= most - least
        out.owner[count], out.rows[count] = v, written
        out.lower[count], out.upper[count] = when[p], when[p + 1]
        for s in range(k):
            out.amount[written + s] = current[s] - least
        written += k
        count += 1
    return count


@kernel()
def remove_oversized(graph: Graph, memory: Memory) -> int:
    """Make states impossible that overflow memory even with the least usage elsewhere. Returns how many."""
    removed = 0
    for v in range(len(graph.first) - 1):
        unary = graph.unary[graph.first[v] : graph.first[v + 1]]
        for q in range(memory.row_of[v], memory.row_of[v + 1]):
            room = memory.capacity[memory.lower[q] : memory.upper[q]].min()
            for s in range(len(unary)):
                if memory.amount[memory.rows[q] + s] > room and unary[s] < INFINITY:
                    unary[s] = INFINITY
                    removed += 1
    return removed
