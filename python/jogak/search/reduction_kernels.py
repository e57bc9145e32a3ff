"""Machine code of the exact reductions: consistency, ties between variables, merging, dominance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jogak.search.flat import Graph, Incidence, costs_beside, other_end
from jogak.search.jit import INFINITY, Floats, Ints, helper, kernel
from jogak.search.memory import Memory


@helper()
def _supported(row: Floats, stride: int, count: int, unary: Floats) -> bool:
    """Whether a state has a possible partner: entries of a table, one per state of the other variable."""
    t = 0
    while t < count and (row[t * stride] == INFINITY or unary[t] == INFINITY):
        t += 1
    return t < count


@kernel()
def make_consistent(graph: Graph, incidence: Incidence) -> int:
    """Make every state impossible that has no possible partner across some edge. Returns how many there were."""
    first, unary, (begin, edges) = graph.first, graph.unary, incidence
    size = len(first) - 1
    queue = np.arange(size)
    queued = np.ones(size, np.bool_)
    head, waiting, removed = 0, size, 0
    while waiting > 0:
        v = queue[head]
        head = (head + 1) % size
        waiting -= 1
        queued[v] = False
        for p in range(begin[v], begin[v + 1]):
            e = edges[p]
            w = other_end(graph, e, v)
            changed = False
            for s in range(first[w], first[w + 1]):
                if unary[s] == INFINITY:
                    continue
                start, step = costs_beside(graph, e, v, s - first[w])
                if not _supported(graph.pair[start:], step, first[v + 1] - first[v], unary[first[v] :]):
                    unary[s] = INFINITY
                    removed += 1
                    changed = True
            if changed and not queued[w]:
                queue[(head + waiting) % size] = w
                waiting += 1
                queued[w] = True
    return removed


@kernel()
def find_ties(graph: Graph) -> Ints:
    """For each edge: 1 when the left state determines the right one, plus 2 when the right one determines the left.

    The problem must be consistent.
    """
    first, unary, left, right, table, pair = graph
    result = np.zeros(len(left), np.int64)
    for e in range(len(left)):
        a, b = left[e], right[e]
        ka, kb = first[a + 1] - first[a], first[b + 1] - first[b]
        columns = np.zeros(kb, np.int64)
        forward = True
        for s in range(ka):
            if unary[first[a] + s] == INFINITY:
                continue
            partners = 0
            for t in range(kb):
                if pair[table[e] + s * kb + t] < INFINITY and unary[first[b] + t] < INFINITY:
                    partners += 1
                    columns[t] += 1
            forward = forward and partners == 1
        result[e] = (1 if forward else 0) + (2 if columns.max() <= 1 else 0)
    return result


@kernel()
def grow_trees(graph: Graph, incidence: Incidence, ties: Ints, starts: Ints, root: Ints, via: Ints, order: Ints) -> int:
    """Span the variables with trees in which each variable is determined by its parent.

    Args:
        ties: from `find_ties`.
        starts: all variables, in the order in which they may become roots.
        root: filled with each variable's root.
        via: filled with the edge to each variable's parent, -1 for roots.
        order: filled with the variables, parents first.

    Returns:
        Number of roots.
    """
    begin, edges = incidence
    root[:] = -1
    filled, roots, head = 0, 0, 0
    for start in starts:
        if root[start] >= 0:
            continue
        root[start], via[start], order[filled] = start, -1, start
        filled += 1
        roots += 1
        while head < filled:
            v = order[head]
            head += 1
            for p in range(begin[v], begin[v + 1]):
                e = edges[p]
                determined = (ties[e] & 1) != 0 if graph.left[e] == v else (ties[e] & 2) != 0
                w = other_end(graph, e, v)
                if determined and root[w] < 0:
                    root[w], via[w], order[filled] = start, e, w
                    filled += 1
    return roots


@kernel()
def trace_states(graph: Graph, root: Ints, via: Ints, order: Ints, position: Ints, kept: Ints, state: Ints) -> None:
    """For each variable and each kept state of its root: the state that it takes.

    Args:
        position: where the row of each variable starts in `state`.
        kept: number of possible states of each root.
        state: filled.
    """
    first, unary = graph.first, graph.unary
    for v in order:
        row = position[v]
        if via[v] < 0:
            for s in range(first[v], first[v + 1]):
                if unary[s] < INFINITY:
                    state[row] = s - first[v]
                    row += 1
            continue
        e = via[v]
        parent = other_end(graph, e, v)
        for r in range(kept[root[v]]):
            start, step = costs_beside(graph, e, v, state[position[parent] + r])
            for t in range(first[v + 1] - first[v]):
                if graph.pair[start + t * step] < INFINITY and unary[first[v] + t] < INFINITY:
                    state[row + r] = t
                    break


class Merger(NamedTuple):
    """Which variables become one.

    Attributes:
        variable: the new variable of each old one.
        position, state: `state[position[v] + s]` is the state of the old variable v when its new one is in state s.
    """

    variable: Ints
    position: Ints
    state: Ints


@kernel()
def merge_unary(graph: Graph, merger: Merger, new: Graph) -> None:
    """Add the costs of all variables to the states of their new ones."""
    for v in range(len(graph.first) - 1):
        begin, end = new.first[merger.variable[v]], new.first[merger.variable[v] + 1]
        for s in range(end - begin):
            new.unary[begin + s] += graph.unary[graph.first[v] + merger.state[merger.position[v] + s]]


@kernel()
def merge_pairs(graph: Graph, merger: Merger, group: Ints, new: Graph) -> None:
    """Add each cost table to the table of its group, or to a variable when its two ends became one or one is fixed.

    The group's table has its rows for the smaller new variable; `group[e] < 0` means "no table".
    """
    variable, position, state = merger
    for e in range(len(graph.left)):
        a, b = graph.left[e], graph.right[e]
        ra, rb = variable[a], variable[b]
        pa, pb = position[a], position[b]
        kb = graph.first[b + 1] - graph.first[b]
        swapped = ra > rb
        if swapped:
            ra, rb, pa, pb = rb, ra, pb, pa
        na, nb = new.first[ra + 1] - new.first[ra], new.first[rb + 1] - new.first[rb]
        for s in range(na):
            for t in range(nb):
                if ra == rb and s != t:
                    continue
                i, j = state[pa + s], state[pb + t]
                value = graph.pair[graph.table[e] + (j * kb + i if swapped else i * kb + j)]
                if group[e] >= 0:
                    new.pair[new.table[group[e]] + s * nb + t] += value
                elif na > 1 or ra == rb:
                    new.unary[new.first[ra] + s] += value
                else:
                    new.unary[new.first[rb] + t] += value


@kernel()
def normalize(graph: Graph) -> Ints:
    """Move what a cost table charges in any case to its variables. Returns 1 for each table with something left."""
    first, unary, left, right, table, pair = graph
    useful = np.zeros(len(left), np.int64)
    for e in range(len(left)):
        a, b = left[e], right[e]
        ka, kb = first[a + 1] - first[a], first[b + 1] - first[b]
        w = pair[table[e] : table[e + 1]]
        for s in range(ka):
            low = w[s * kb : (s + 1) * kb].min()
            unary[first[a] + s] += low
            for t in range(kb):
                if low < INFINITY:
                    w[s * kb + t] -= low
        for t in range(kb):
            low = w[t]
            for s in range(1, ka):
                low = min(low, w[s * kb + t])
            unary[first[b] + t] += low
            for s in range(ka):
                if low < INFINITY:
                    w[s * kb + t] -= low
        useful[e] = 1 if w.max() > 0 else 0
    return useful


@helper()
def _worst_change(e: int, v: int, s: int, r: int, graph: Graph) -> float:
    """The most that edge e can cost more when v changes from state s to state r."""
    first, _, left, right, table, pair = graph
    kb = first[right[e] + 1] - first[right[e]]
    if left[e] == v:
        count, stride, old, new = kb, 1, table[e] + s * kb, table[e] + r * kb
    else:
        count, stride, old, new = first[left[e] + 1] - first[left[e]], kb, table[e] + s, table[e] + r
    worst = -INFINITY
    for t in range(count):
        before, after = pair[old + t * stride], pair[new + t * stride]
        if before == INFINITY:
            continue
        worst = max(worst, after - before)
        if worst == INFINITY:
            break
    return worst


@kernel()
def remove_dominated(graph: Graph, incidence: Incidence, memory: Memory) -> int:
    """Make a state impossible when another is never worse: not in cost for any neighbours, nor in memory at any time.

    The tables must be normalized: every row and column then holds a 0, so no edge alone can make a change cheaper.

    Returns:
        Number of states removed.
    """
    first, unary, (begin, edges) = graph.first, graph.unary, incidence
    removed = 0
    for v in range(len(first) - 1):
        states = first[v + 1] - first[v]
        for s in range(states):
            if unary[first[v] + s] == INFINITY:
                continue
            for r in range(states):
                change = unary[first[v] + r] - unary[first[v] + s]
                if r == s or change > 0:
                    continue
                fits = True
                for q in range(memory.row_of[v], memory.row_of[v + 1]):
                    if memory.amount[memory.rows[q] + r] > memory.amount[memory.rows[q] + s]:
                        fits = False
                        break
                if not fits:
                    continue
                for p in range(begin[v], begin[v + 1]):
                    change += _worst_change(edges[p], v, s, r, graph)
                    if change > 0:
                        break
                if change <= 0:
                    unary[first[v] + s] = INFINITY
                    removed += 1
                    break
    return removed
