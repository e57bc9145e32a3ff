"""Exact reductions: fewer variables and states, the same best choice, memory limit included.

Contest instances shrink by one to two orders of magnitude here, because most of their cost tables are ties: they
forbid all but one partner for each state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from jogak.search import reduction_kernels as kernels
from jogak.search.flat import Graph, Usage, incidence, offsets
from jogak.search.jit import INFINITY, Bools, Ints
from jogak.search.memory import Memory, build_memory, remove_oversized

_ROUNDS = 12
# Another round for fewer removed states than this share of all costs more time than it saves.
_FEW = 0.01


@dataclass(frozen=True)
class Reduced:
    """A smaller problem and the way back.

    Attributes:
        graph: variables and costs; every variable has a state unless `possible` is False.
        memory: what the variables occupy.
        head: for each variable, the node whose strategies its states are.
        root: for each node of the problem as given, its variable.
        position, state: `state[position[i] + s]` is the strategy of node i when its variable is in state s.
        possible: False when the reductions prove that no choice is feasible.
    """

    graph: Graph
    memory: Memory
    head: Ints
    root: Ints
    position: Ints
    state: Ints
    possible: bool

    def expand(self, states: Ints) -> Ints:
        """The strategy of each node, from the state of each variable."""
        choice: Ints = self.state[self.position + states[self.root]]
        return choice

    def collapse(self, choice: Ints) -> Ints:
        """The state of each variable, from the strategy of each node; -1 where the reductions removed it."""
        counts, first = self.graph.states, self.graph.first
        rows = np.repeat(self.position[self.head] - first[:-1], counts) + np.arange(first[-1])
        matches = np.flatnonzero(self.state[rows] == np.repeat(choice[self.head], counts))
        states = np.full(self.graph.size, -1, np.int64)
        owner = np.repeat(np.arange(self.graph.size), counts)[matches]
        states[owner] = matches - first[owner]
        return states


def reduce(graph: Graph, usage: Usage) -> Reduced:
    """Apply consistency, ties, merging and dominance until little changes."""
    counts = graph.states
    nodes = np.arange(graph.size, dtype=np.int64)
    state = np.arange(len(graph.unary), dtype=np.int64) - np.repeat(graph.first[:-1], counts)
    memory = build_memory(usage, counts, nodes, graph.first[:-1].copy(), state)
    return _settle(Reduced(graph, memory, nodes, nodes, graph.first[:-1].copy(), state, True), usage)


def restrict(current: Reduced, allowed: Bools, usage: Usage) -> Reduced:
    """The smaller problem in which only the allowed states may be chosen, reduced again."""
    unary = np.where(allowed, current.graph.unary, INFINITY)
    return _settle(replace(current, graph=current.graph._replace(unary=unary)), usage)


def _settle(current: Reduced, usage: Usage) -> Reduced:
    """Merge and remove states in turns until a round removes few states."""
    current = replace(current, graph=current.graph._replace(unary=current.graph.unary.copy()))
    for turn in range(_ROUNDS):
        merged = _merge(current)
        if merged is None:
            return replace(current, possible=False)
        graph = merged.graph
        memory = build_memory(usage, graph.states, merged.root, merged.position, merged.state)
        merged = replace(merged, memory=memory, possible=memory.capacity.min(initial=0) >= 0)
        unchanged = turn > 0 and _same_size(merged, current)
        current = merged
        if unchanged or not merged.possible:
            return current
        if _remove_states(current) <= _FEW * len(graph.unary) and turn > 0:
            break
    return _finish(current, usage)


def _finish(current: Reduced, usage: Usage) -> Reduced:
    """Merge until nothing changes: afterwards every state has a possible partner in each table."""
    while True:
        merged = _merge(current)
        if merged is None:
            return replace(current, possible=False)
        unchanged = _same_size(merged, current)
        current = merged
        if unchanged:
            break
    memory = build_memory(usage, current.graph.states, current.root, current.position, current.state)
    return replace(current, memory=memory, possible=memory.capacity.min(initial=0) >= 0)


def _same_size(one: Reduced, other: Reduced) -> bool:
    return len(one.graph.unary) == len(other.graph.unary) and len(one.graph.pair) == len(other.graph.pair)


def _merge(current: Reduced) -> Reduced | None:
    """One round of consistency and merging; None when some variable has no state left."""
    graph = current.graph
    around = incidence(graph)
    kernels.make_consistent(graph, around)
    possible = offsets((graph.unary < INFINITY).astype(np.int64))
    kept = possible[graph.first[1:]] - possible[graph.first[:-1]]
    if kept.min(initial=1) == 0:
        return None
    ties = kernels.find_ties(graph)
    root, via, order = (np.empty(graph.size, np.int64) for _ in range(3))
    starts = np.argsort(-kept, kind="stable")
    kernels.grow_trees(graph, around, ties, starts, root, via, order)
    position = offsets(kept[root])
    state = np.empty(position[-1], np.int64)
    kernels.trace_states(graph, root, via, order, position[:-1].copy(), kept, state)
    roots = np.flatnonzero(via < 0)
    renamed = np.full(graph.size, -1, np.int64)
    renamed[roots] = np.arange(len(roots))
    merger = kernels.Merger(renamed[root], position[:-1], state)
    smaller = _merge_costs(graph, merger, offsets(kept[roots]))
    smaller_heads = replace(current, graph=smaller, head=current.head[roots])
    return _compose(smaller_heads, current, merger)


def _merge_costs(graph: Graph, merger: kernels.Merger, first: Ints) -> Graph:
    """The problem of the new variables, whose states start at `first`."""
    ends = np.stack([merger.variable[graph.left], merger.variable[graph.right]])
    low, high = ends.min(axis=0), ends.max(axis=0)
    counts = np.diff(first)
    separate = (low != high) & (counts[low] > 1) & (counts[high] > 1)
    group = np.full(len(low), -1, np.int64)
    keys, group[separate] = np.unique(low[separate] * len(counts) + high[separate], return_inverse=True)
    left, right = keys // max(len(counts), 1), keys % max(len(counts), 1)
    table = offsets(counts[left] * counts[right])
    new = Graph(first, np.zeros(first[-1]), left, right, table, np.zeros(table[-1]))
    kernels.merge_unary(graph, merger, new)
    kernels.merge_pairs(graph, merger, group, new)
    useful = kernels.normalize(new).astype(bool)
    sizes = np.diff(table)
    entries = np.repeat(useful, sizes)
    return Graph(first, new.unary, left[useful], right[useful], offsets(sizes[useful]), new.pair[entries])


def _compose(merged: Reduced, current: Reduced, merger: kernels.Merger) -> Reduced:
    """Chain the way back of this round behind the way back so far."""
    position, state = merger.position, merger.state
    root = merger.variable[current.root]
    counts = merged.graph.states[root]
    rows = offsets(counts)
    inner = np.repeat(position[current.root], counts) + np.arange(rows[-1]) - np.repeat(rows[:-1], counts)
    outer = np.repeat(current.position, counts) + state[inner]
    return replace(merged, root=root, position=rows[:-1], state=current.state[outer])


def _remove_states(current: Reduced) -> int:
    """Mark states impossible that memory rules out or another state dominates; returns how many."""
    graph, memory = current.graph, current.memory
    removed = remove_oversized(graph, memory)
    return removed + kernels.remove_dominated(graph, incidence(graph), memory)
