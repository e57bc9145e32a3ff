"""Machine code of moves in forests: all variables of an induced forest change at once, in the best possible way."""

from __future__ import annotations

import numpy as np

from jogak.search.flat import Graph, Incidence, costs_beside, other_end
from jogak.search.jit import INFINITY, Bools, Floats, Ints, helper, kernel
from jogak.search.memory import Memory


@helper()
def _find(group: Ints, v: int) -> int:
    while group[v] != v:
        group[v] = group[group[v]]
        v = group[v]
    return v


@kernel()
def grow_forest(graph: Graph, incidence: Incidence, candidates: Ints, sequence: Ints, via: Ints) -> int:
    """Pick variables, in the order of the candidates, so that the edges between them form a forest.

    Args:
        candidates: the variables that may be picked, each at most once.
        sequence: filled with the picked variables, each behind its parent.
        via: filled for all variables: the edge to the parent, -1 for a root, -2 for those that were not picked.

    Returns:
        Number of variables picked.
    """
    first, (begin, edges) = graph.first, incidence
    size = len(first) - 1
    group = np.arange(size)
    via[:] = -2
    last = np.full(size, -1, np.int64)
    for v in candidates:
        fits = first[v + 1] - first[v] > 1
        for p in range(begin[v], begin[v + 1]):
            w = other_end(graph, edges[p], v)
            if not fits or via[w] == -2:
                continue
            tree = _find(group, w)
            fits = last[tree] != v
            last[tree] = v
        if not fits:
            continue
        via[v] = -1
        for p in range(begin[v], begin[v + 1]):
            w = other_end(graph, edges[p], v)
            if via[w] != -2:
                group[_find(group, w)] = v
    seen = np.zeros(size, np.bool_)
    filled, head = 0, 0
    for start in candidates:
        if via[start] == -2 or seen[start]:
            continue
        seen[start] = True
        sequence[filled] = start
        filled += 1
        while head < filled:
            v = sequence[head]
            head += 1
            for p in range(begin[v], begin[v + 1]):
                w = other_end(graph, edges[p], v)
                if via[w] != -2 and not seen[w]:
                    seen[w] = True
                    via[w] = edges[p]
                    sequence[filled] = w
                    filled += 1
    return filled


@helper(fast=True)
def _send(v: int, e: int, own: Floats, graph: Graph, costs: Floats) -> None:
    """Add to each state of v's parent what the cheapest answer of v costs."""
    first, _, left, right, table, pair = graph
    kb = first[right[e] + 1] - first[right[e]]
    if left[e] == v:
        into = costs[first[right[e]] : first[right[e] + 1]]
        least = np.full(kb, INFINITY)
        for s in range(len(own)):
            row = pair[table[e] + s * kb : table[e] + (s + 1) * kb]
            base = own[s]
            for t in range(kb):
                value = base + row[t]
                least[t] = value if value < least[t] else least[t]
        into += least
        return
    into = costs[first[left[e]] : first[left[e] + 1]]
    for s in range(len(into)):
        row = pair[table[e] + s * kb : table[e] + (s + 1) * kb]
        lowest = INFINITY
        for t in range(kb):
            value = own[t] + row[t]
            lowest = value if value < lowest else lowest
        into[s] += lowest


@helper()
def _add_edge(v: int, e: int, graph: Graph, choice: Ints, own: Floats) -> None:
    """Add to v's states what edge e costs while its other end keeps its state."""
    start, step = costs_beside(graph, e, v, choice[other_end(graph, e, v)])
    for s in range(len(own)):
        own[s] += graph.pair[start + s * step]


@kernel()
def move_forest(graph: Graph, incidence: Incidence, sequence: Ints, via: Ints, allowed: Bools, choice: Ints) -> None:
    """Give the variables of a forest their cheapest states while all others keep theirs (dynamic programming).

    Args:
        sequence, via: from `grow_forest`.
        allowed: the states that may be chosen; the current ones must be among them.
        choice: a state for each variable, changed in place.
    """
    first, unary, begin, edges = graph.first, graph.unary, incidence.begin, incidence.edges
    costs = np.zeros(first[-1])
    for p in range(len(sequence) - 1, -1, -1):
        v = sequence[p]
        own = costs[first[v] : first[v + 1]]
        for s in range(len(own)):
            own[s] += unary[first[v] + s] if allowed[first[v] + s] else INFINITY
        for q in range(begin[v], begin[v + 1]):
            if via[other_end(graph, edges[q], v)] == -2:
                _add_edge(v, edges[q], graph, choice, own)
        if via[v] >= 0:
            _send(v, via[v], own, graph, costs)
    for v in sequence:
        own = costs[first[v] : first[v + 1]]
        if via[v] >= 0:
            _add_edge(v, via[v], graph, choice, own)
        best = own.argmin()
        if own[best] < own[choice[v]]:
            choice[v] = best


@kernel()
def mark_safe(
    graph: Graph, memory: Memory, profile: Floats, sequence: Ints, choice: Ints, share: bool, allowed: Bools
) -> None:
    """Allow those states of some variables that need no more memory than the current ones.

    With `share`, one variable after another may also take what is left where it is in memory; a copy of the profile
    keeps account, so that any combination of allowed states fits. That takes time for each time step of each segment.
    """
    first, (row_of, lower, upper, rows, amount, capacity) = graph.first, memory
    reserved = profile.copy() if share else profile
    for v in sequence:
        k = first[v + 1] - first[v]
        allowed[first[v] : first[v + 1]] = True
        for q in range(row_of[v], row_of[v + 1]):
            room = INFINITY if share else 0.0
            for t in range(lower[q], upper[q] if share else lower[q]):
                room = min(room, capacity[t] - reserved[t])
            now = amount[rows[q] + choice[v]]
            most = 0.0
            for s in range(k):
                extra = amount[rows[q] + s] - now
                if extra > max(room, 0.0):
                    allowed[first[v] + s] = False
                elif extra > most:
                    most = extra
            if most > 0:
                for t in range(lower[q], upper[q]):
                    reserved[t] += most


@kernel()
def ball(graph: Graph, incidence: Incidence, center: int, size: int, inside: Ints) -> int:
    """Fill `inside` with the variables nearest to one, itself first, up to `size` of them; returns their number."""
    begin, edges = incidence
    seen = np.zeros(len(begin) - 1, np.bool_)
    seen[center] = True
    inside[0] = center
    filled, head = 1, 0
    while head < filled and filled < size:
        v = inside[head]
        head += 1
        for p in range(begin[v], begin[v + 1]):
            w = other_end(graph, edges[p], v)
            if not seen[w] and filled < size:
                seen[w] = True
                inside[filled] = w
                filled += 1
    return filled
