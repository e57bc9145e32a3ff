"""Repeated layers: which sites of a program may share one decision, so that deep models cost the search no more.

Layers show as runs of the op sequence that repeat with a period, in the forward pass, in the backward pass and in the
optimizer. Ops at equal places of a run get one decision; those of every other repeat get another one (`PHASES`), so
that plans that alternate between layers stay possible. Arguments share a decision when their users do. It is a
restriction of the plans, never a change of their costs: the plan of the folded problem is a plan of the program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import pairwise

from jogak.autoshard.sites import OpSite, Sites
from jogak.sharding.graph import Graph, Node

PHASES = 2
"""Repeats of a layer that are decided separately."""
_SHORTEST = 3
"""Ops that a repeated part has at least."""


def signatures(graph: Graph) -> list[int]:
    """Numbers that are equal for ops that do the same to tensors of the same types."""
    known: dict[Hashable, int] = {}
    return [known.setdefault(_signature(graph, node), len(known)) for node in graph.nodes]


def _signature(graph: Graph, node: Node) -> Hashable:
    values = [*node.operands, *node.results]
    types = tuple(None if v is None else (graph.values[v].shape, graph.values[v].element) for v in values)
    return node.op, node.rule, types, node.flops, node.through, node.sums


def find_runs(sequence: Sequence[int]) -> list[tuple[int, int, int]]:
    """Parts of a sequence that repeat: (start, period, repeats), longest first, without overlap.

    Runs of more than two periods are worth folding; a run covers whole repeats only.
    """
    found: list[tuple[int, int, int]] = []
    taken = [False] * len(sequence)
    candidates = sorted(
        (run for period in _periods(sequence) for run in _runs_of(sequence, period)),
        key=lambda run: (-run[1] * run[2], run[1], run[0]),
    )
    for start, period, repeats in candidates:
        free = _free_part(taken, start, start + period * repeats)
        if free is None:
            continue
        begin, end = free
        count = (end - begin) // period
        if count > PHASES:
            found.append((begin, period, count))
            taken[begin : begin + period * count] = [True] * (period * count)
    return found


def _free_part(taken: Sequence[bool], start: int, end: int) -> tuple[int, int] | None:
    """The longest stretch of a range that no run has yet."""
    best: tuple[int, int] | None = None
    at = start
    while at < end:
        if taken[at]:
            at += 1
            continue
        stop = at
        while stop < end and not taken[stop]:
            stop += 1
        if best is None or stop - at > best[1] - best[0]:
            best = (at, stop)
        at = stop
    return best


def _periods(sequence: Sequence[int]) -> list[int]:
    """Distances at which ops come again: the most frequent ones."""
    last: dict[int, int] = {}
    distances: Counter[int] = Counter()
    for at, symbol in enumerate(sequence):
        if symbol in last:
            distances[at - last[symbol]] += 1
        last[symbol] = at
    # An op that a layer holds several times comes again within the layer; sums of up to some of those are the period.
    frequent = [distance for distance, _ in distances.most_common(24)]
    return sorted({d for d in frequent if d >= _SHORTEST} | _rare_distances(sequence))


def _rare_distances(sequence: Sequence[int]) -> set[int]:
    """Distances of ops that a layer holds once: those of the rarest repeated ops."""
    places: dict[int, list[int]] = {}
    for at, symbol in enumerate(sequence):
        places.setdefault(symbol, []).append(at)
    distances: Counter[int] = Counter()
    for found in places.values():
        for before, after in pairwise(found):
            distances[after - before] += 1
    return {distance for distance, count in distances.items() if count > PHASES and distance >= _SHORTEST}


def _runs_of(sequence: Sequence[int], period: int) -> list[tuple[int, int, int]]:
    """Maximal stretches in which every op equals the one a period later."""
    found = []
    start: int | None = None
    for at in range(len(sequence) - period + 1):
        equal = at < len(sequence) - period and sequence[at] == sequence[at + period]
        if equal and start is None:
            start = at
        if not equal and start is not None:
            repeats = (at - start + period) // period
            if repeats > PHASES:
                found.append((start, period, repeats))
            start = None
    return found


def fold(sites: Sites) -> list[int]:
    """For each site the number of its decision; numbers count from 0 in order of first sites."""
    place: dict[int, Hashable] = {}
    sequence = signatures(sites.graph)
    for number, (start, period, repeats) in enumerate(find_runs(sequence)):
        for at in range(start, start + period * repeats):
            place[at] = (number, (at - start) % period, (at - start) // period % PHASES)
    keys: list[Hashable] = []
    order: Counter[Hashable] = Counter()
    for site, parent in enumerate(sites.parent):
        where = None if parent is None else place.get(parent)
        if where is None:
            keys.append(("alone", site))
            continue
        # A node may have several sites: its sums, itself, and what is kept of its results, always in one order.
        order[parent] += 1
        keys.append((where, order[parent], _states(sites, site)))
    _fold_arguments(sites, keys)
    known: dict[Hashable, int] = {}
    return [known.setdefault(key, len(known)) for key in keys]


def _states(sites: Sites, number: int) -> Hashable:
    """What can be chosen: at the ends of a run it may be less, where no partial sum comes in."""
    site = sites.sites[number]
    return (site.node.op, site.node.through) if isinstance(site, OpSite) else site.shardings


def _fold_arguments(sites: Sites, keys: list[Hashable]) -> None:
    """Arguments share a decision when all their users do."""
    uses: dict[int, list[Hashable]] = {site: [] for site, parent in enumerate(sites.parent) if parent is None}
    for link in sites.links:
        if link.source in uses:
            uses[link.source].append((keys[link.target], link.operand))
        if link.target in uses:
            uses[link.target].append((keys[link.source], link.result, "update"))
    for site, users in uses.items():
        stored = sites.sites[site]
        folded = users and all(key[0][0] != "alone" for key in users)  # type: ignore[index]
        if folded and not isinstance(stored, OpSite):
            value = sites.values[stored.value]
            keys[site] = ("argument", value.shape, value.element, stored.shardings, tuple(sorted(map(repr, users))))
