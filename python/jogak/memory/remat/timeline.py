"""A sequence of computations that can be changed step by step, with its peak at hand after every change.

Time is a row of slots, most of them empty. Each node has a sorted list of occurrences; an occurrence's value lives to
its last reader before the next occurrence. A tree over the slots holds live bytes with "add to a range" and "maximum",
so that a change costs O(degree * log slots). Slots and tree are the idea of FastSA ("A fast heuristic to optimize
time-space tradeoff for large models", Preferred Networks).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jogak.memory.remat.graph import RematGraph
from jogak.search.jit import Floats, Ints, helper

EMPTY = -1
PINNED = 2


class Timeline(NamedTuple):
    """The arrays of a timeline over `n` nodes, `v` values and `s` slots (a power of two).

    Attributes:
        read_start, reads: the values that each node reads, as compressed rows.
        use_start, uses: the nodes that read each value.
        out_start, outs: the values that each node makes.
        last_start, lasts: the nodes before which all computations of each node come.
        first_start, firsts: the other way round: the nodes all of whose computations come before each node.
        cost, scratch: of each node.
        size, maker: of each value.
        once: 1 for nodes that must not repeat, PINNED for those that must not move either.
        stage: [s] the stage of each slot when the order is fixed; empty when it is free.
        slots: [s] the node in each slot, or EMPTY.
        at: [n, limit] slots of each node's occurrences, rising.
        end: [v, limit] last slot in which the value lives that each occurrence of its maker makes.
        times: [n] number of occurrences.
        live: [2s] maximum of live bytes under each tree node; the leaf of slot p is s + p.
        lazy: [s] bytes added to everything under each inner tree node.
        repeated: [n + 1] nodes with several occurrences; the last entry is how many there are.
        place: [n] where each node stands in `repeated`.
        origin: [1] the first slot after those of the arguments.
    """

    read_start: Ints
    reads: Ints
    use_start: Ints
    uses: Ints
    out_start: Ints
    outs: Ints
    last_start: Ints
    lasts: Ints
    first_start: Ints
    firsts: Ints
    cost: Floats
    scratch: Ints
    size: Ints
    maker: Ints
    once: Ints
    stage: Ints
    slots: Ints
    at: Ints
    end: Ints
    times: Ints
    live: Ints
    lazy: Ints
    repeated: Ints
    place: Ints
    origin: Ints


def new_timeline(graph: RematGraph, slots: int, stage: Ints, limit: int) -> Timeline:
    """An empty timeline.

    Args:
        graph: nodes numbered in topological order.
        slots: how many slots; a power of two.
        stage: the stage of each slot, or an empty array when the order is free.
        limit: the most occurrences of one node.
    """
    nodes, values = len(graph), len(graph.makers)
    firsts: list[list[int]] = [[] for _ in range(nodes)]
    for first, last in graph.before:
        firsts[last].append(first)
    once = [PINNED if node in graph.arguments else int(node in graph.single) for node in range(nodes)]
    return Timeline(
        *_rows(graph.reads),
        *_rows(graph.readers),
        *_rows(graph.outputs),
        *_rows(graph.lasts),
        *_rows(firsts),
        np.array(graph.cost, dtype=np.float64),
        np.array([graph.scratch_of(node) for node in range(nodes)], dtype=np.int64),
        np.array(graph.bytes, dtype=np.int64),
        np.array(graph.makers, dtype=np.int64),
        np.array(once, dtype=np.int64),
        stage,
        np.full(slots, EMPTY, dtype=np.int64),
        np.zeros((nodes, limit), dtype=np.int64),
        np.zeros((values, limit), dtype=np.int64),
        np.zeros(nodes, dtype=np.int64),
        np.full(2 * slots, graph.fixed, dtype=np.int64),
        np.zeros(slots, dtype=np.int64),
        np.zeros(nodes + 1, dtype=np.int64),
        np.zeros(nodes, dtype=np.int64),
        np.zeros(1, dtype=np.int64),
    )


def _rows(lists: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    start = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return start, np.array([entry for row in lists for entry in row], dtype=np.int64)


@helper()
def add_range(line: Timeline, low: int, high: int, change: int) -> None:
    """Add bytes to the slots low..high; nothing when high < low."""
    if high < low or change == 0:
        return
    slots = line.slots.size
    left, right = low + slots, high + slots + 1
    first, last = left, right - 1
    while left < right:
        if left & 1:
            line.live[left] += change
            if left < slots:
                line.lazy[left] += change
            left += 1
        if right & 1:
            right -= 1
            line.live[right] += change
            if right < slots:
                line.lazy[right] += change
        left >>= 1
        right >>= 1
    _pull(line, first)
    _pull(line, last)


@helper()
def _pull(line: Timeline, leaf: int) -> None:
    node = leaf >> 1
    while node >= 1:
        line.live[node] = max(line.live[2 * node], line.live[2 * node + 1]) + line.lazy[node]
        node >>= 1


@helper()
def peak_slot(line: Timeline) -> int:
    """A slot with the most live bytes, one of them by chance."""
    node, slots = 1, line.slots.size
    while node < slots:
        node *= 2
        difference = line.live[node + 1] - line.live[node]
        if difference > 0 or (difference == 0 and np.random.random() < 0.5):
            node += 1
    return node - slots


@helper()
def earlier(line: Timeline, node: int, slot: int) -> int:
    """How many occurrences of the node come before the slot."""
    low, high = 0, line.times[node]
    while low < high:
        middle = (low + high) >> 1
        if line.at[node, middle] < slot:
            low = middle + 1
        else:
            high = middle
    return low


@helper()
def last_use(line: Timeline, value: int, after: int, until: int) -> int:
    """The last slot in (after, until] that reads the value; `after` when none does."""
    found = after
    for index in range(line.use_start[value], line.use_start[value + 1]):
        reader = line.uses[index]
        before = earlier(line, reader, until + 1)
        if before > 0:
            found = max(found, line.at[reader, before - 1])
    return found


@helper()
def next_use(line: Timeline, value: int, after: int) -> int:
    """The first slot after `after` that reads the value; the number of slots when none does."""
    found = line.slots.size
    for index in range(line.use_start[value], line.use_start[value + 1]):
        reader = line.uses[index]
        before = earlier(line, reader, after + 1)
        if before < line.times[reader]:
            found = min(found, line.at[reader, before])
    return found


@helper()
def insert(line: Timeline, node: int, slot: int) -> None:
    """Compute the node in an empty slot."""
    index, count = earlier(line, node, slot), line.times[node]
    for later in range(count, index, -1):
        line.at[node, later] = line.at[node, later - 1]
    line.at[node, index] = slot
    line.times[node] = count + 1
    line.slots[slot] = node
    if count == 1:
        _enlist(line, node)
    until = line.at[node, index + 1] if index < count else line.slots.size - 1
    for output in range(line.out_start[node], line.out_start[node + 1]):
        value = line.outs[output]
        for later in range(count, index, -1):
            line.end[value, later] = line.end[value, later - 1]
        line.end[value, index] = last_use(line, value, slot, until)
        if index > 0 and line.end[value, index - 1] > slot:
            shorter = last_use(line, value, line.at[node, index - 1], slot)
            add_range(line, shorter + 1, line.end[value, index - 1], -line.size[value])
            line.end[value, index - 1] = shorter
        add_range(line, slot, line.end[value, index], line.size[value])
    add_range(line, slot, slot, line.scratch[node])
    for position in range(line.read_start[node], line.read_start[node + 1]):
        value = line.reads[position]
        source = earlier(line, line.maker[value], slot) - 1
        if source >= 0 and line.end[value, source] < slot:
            add_range(line, line.end[value, source] + 1, slot, line.size[value])
            line.end[value, source] = slot


@helper()
def remove(line: Timeline, node: int, index: int) -> None:
    """Take back the occurrence `index` of the node."""
    slot, count = line.at[node, index], line.times[node]
    for output in range(line.out_start[node], line.out_start[node + 1]):
        value = line.outs[output]
        end = line.end[value, index]
        add_range(line, slot, end, -line.size[value])
        for later in range(index, count - 1):
            line.end[value, later] = line.end[value, later + 1]
        if index > 0 and end > slot:
            add_range(line, line.end[value, index - 1] + 1, end, line.size[value])
            line.end[value, index - 1] = end
    add_range(line, slot, slot, -line.scratch[node])
    line.slots[slot] = EMPTY
    for later in range(index, count - 1):
        line.at[node, later] = line.at[node, later + 1]
    line.times[node] = count - 1
    if count == 2:
        _delist(line, node)
    for position in range(line.read_start[node], line.read_start[node + 1]):
        value = line.reads[position]
        source = earlier(line, line.maker[value], slot) - 1
        if source >= 0 and line.end[value, source] == slot:
            shorter = last_use(line, value, line.at[line.maker[value], source], slot - 1)
            add_range(line, shorter + 1, slot, -line.size[value])
            line.end[value, source] = shorter


@helper()
def _enlist(line: Timeline, node: int) -> None:
    last = line.repeated.size - 1
    line.place[node] = line.repeated[last]
    line.repeated[line.repeated[last]] = node
    line.repeated[last] += 1


@helper()
def _delist(line: Timeline, node: int) -> None:
    last = line.repeated.size - 1
    line.repeated[last] -= 1
    moved = line.repeated[line.repeated[last]]
    line.repeated[line.place[node]] = moved
    line.place[moved] = line.place[node]


def load(line: Timeline, sequence: Sequence[int], slots: Sequence[int]) -> None:
    """Fill an empty timeline with a sequence, one slot for each entry."""
    for node, slot in zip(sequence, slots, strict=True):
        insert(line, node, slot)
        if line.once[node] == PINNED:
            line.origin[0] = slot + 1


def read(slots: Ints) -> list[int]:
    """The sequence that a row of slots holds."""
    return [int(node) for node in slots if node != EMPTY]
