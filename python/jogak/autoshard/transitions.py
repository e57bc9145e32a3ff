"""What it costs to bring a value from any sharding to any other: shortest ways between all of them at once.

The steps are those of `jogak.sharding.reshard`; here all pairs are priced together, since the search needs the whole
table. The steps of a shape depend on little more than its rank, so that they are listed once for many values; the
shortest ways are found by scipy's Dijkstra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import permutations, product
from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from jogak.autoshard.strategies import active_axes
from jogak.cost.model import CostModel
from jogak.sharding.mesh import Mesh
from jogak.sharding.padding import splits
from jogak.sharding.permute import exchange_of
from jogak.sharding.sharding import Combiner, Sharding
from jogak.sharding.shortcuts import shortcuts
from jogak.sharding.steps import Step, StepKind, collective_steps

Floats = NDArray[np.float64]
_TINY = 1e-18
"""Seconds of a step that is free: a graph of csgraph has no edges of weight 0."""
_NOTHING = 1e-15
"""Below this a way is free: many free steps, and no real one."""


_BUCKETED = ("all_reduce", "reduce_scatter")
"""Collectives that gradients wait for in buckets."""
_BUCKET = 2.0**24
"""Bytes that lie in a bucket when the next gradient comes."""


_Part = tuple[str, tuple[str, ...], float]
"""A collective, a slice, or `once` (one device keeps a whole value as its summand), its axes, and how many times the
bytes on a device at the source it moves."""


@dataclass(frozen=True)
class _Move:
    """One step between two states, or the steps of a shortcut."""

    source: int
    target: int
    parts: tuple[_Part, ...]


@dataclass(frozen=True)
class Network:
    """The states of all values of one rank and divisibility, and the steps between them."""

    states: dict[Sharding, int]
    moves: tuple[_Move, ...]


@dataclass
class Transitions:
    """Prices of resharding on one machine and mesh, found once a shape.

    Attributes:
        mesh: the mesh.
        cost: what collectives and copies take.
        bucketed: whether collectives can wait for others of their kind, and are done in one with them where that is
            faster (`jogak.partition.optimize.bucketing`): a full bucket then takes their bytes, and no latency more.
    """

    mesh: Mesh
    cost: CostModel
    bucketed: bool = False
    _tables: dict[tuple[tuple[int, ...], int, Combiner], tuple[dict[Sharding, int], Floats]] = field(
        default_factory=dict
    )

    def table(
        self, shape: tuple[int, ...], element_bytes: int, sources: Sequence[Sharding], targets: Sequence[Sharding]
    ) -> Floats:
        """Seconds from each source to each target, infinite where no way leads.

        Args:
            shape: global shape of the value.
        """
        combiner = next((entry[1] for each in sources for entry in each.partial), Combiner.ADD)
        states, seconds = self._all_pairs(shape, element_bytes, combiner)
        rows = np.array([states[_of_kind(each, combiner)] for each in sources])
        columns = np.array([states.get(each, -1) for each in targets])
        found: Floats = seconds[np.ix_(rows, np.maximum(columns, 0))]
        found[:, columns < 0] = np.inf
        return found

    def _all_pairs(
        self, shape: tuple[int, ...], element_bytes: int, combiner: Combiner
    ) -> tuple[dict[Sharding, int], Floats]:
        key = (shape, element_bytes, combiner)
        if key not in self._tables:
            self._tables[key] = self._shortest(shape, element_bytes, combiner)
        return self._tables[key]

    def _shortest(
        self, shape: tuple[int, ...], element_bytes: int, combiner: Combiner
    ) -> tuple[dict[Sharding, int], Floats]:
        found = network(alike(shape, self.mesh), self.mesh, combiner)
        held = [prod(state.local_shape(shape, self.mesh)) * element_bytes for state in found.states]
        prices: dict[tuple[str, tuple[str, ...], float], float] = {}
        weights = np.empty(len(found.moves))
        for number, move in enumerate(found.moves):
            weights[number] = 0.0
            for kind, axes, scale in move.parts:
                priced = (kind, axes, held[move.source] * scale)
                if priced not in prices:
                    prices[priced] = self._price(*priced)
                weights[number] += prices[priced]
        size = len(found.states)
        sources = np.array([move.source for move in found.moves], dtype=np.int64)
        targets = np.array([move.target for move in found.moves], dtype=np.int64)
        dense = np.full((size, size), np.inf)
        np.minimum.at(dense, (sources, targets), weights)
        rows, columns = np.nonzero(np.isfinite(dense))
        graph = csr_array((np.maximum(dense[rows, columns], _TINY), (rows, columns)), shape=(size, size))
        seconds = dijkstra(graph)
        return found.states, np.where(seconds < _NOTHING, 0.0, seconds)

    def _price(self, kind: str, axes: tuple[str, ...], bytes_: float) -> float:
        if kind in ("all_slice", "once"):
            return self.cost.copy(bytes_)
        alone = self.cost.collective(kind, axes, bytes_)
        if not self.bucketed or kind not in _BUCKETED:
            return alone
        full = self.cost.collective(kind, axes, _BUCKET)
        copying = self.cost.copy(bytes_) - self.cost.copy(0)
        return min(alone, self.cost.collective(kind, axes, _BUCKET + bytes_) - full + copying)


@lru_cache(maxsize=512)
def network(shape: tuple[int, ...], mesh: Mesh, combiner: Combiner) -> Network:
    """The states of a shape and the steps between them; what they cost is not asked."""
    states = _states(shape, mesh, combiner)
    return Network(states, tuple(_moves(states, shape, mesh)))


def alike(shape: tuple[int, ...], mesh: Mesh) -> tuple[int, ...]:
    """One shape for all that have the same states and steps.

    What can be done with a size that has an element for every device depends on the remainder alone: pieces of `n` on
    `p` devices have `ceil(n / p)` elements, and `p` pieces more for each device change that by a multiple.
    """
    devices = mesh.devices
    return tuple(size if size < devices else devices + size % devices for size in shape)


def _of_kind(sharding: Sharding, combiner: Combiner) -> Sharding:
    """A result may be partial by one combiner only; the states of a network are of one."""
    return sharding if all(kind is combiner for _, kind in sharding.partial) else sharding.complete()


def _states(shape: tuple[int, ...], mesh: Mesh, combiner: Combiner) -> dict[Sharding, int]:
    """Every sharding of the shape, with axes in any order and partial on any axes."""
    axes = active_axes(mesh)
    found: dict[Sharding, int] = {}
    for picks in product([None, -1, *range(len(shape))], repeat=len(axes)):
        partial = tuple((axis, combiner) for axis, pick in zip(axes, picks, strict=True) if pick == -1)
        members = [[axis for axis, pick in zip(axes, picks, strict=True) if pick == dim] for dim in range(len(shape))]
        if not all(splits(size, split, mesh) for size, split in zip(shape, members, strict=True)):
            continue
        for dims in product(*(permutations(split) for split in members)):
            found.setdefault(Sharding(tuple(dims), tuple(sorted(partial))), len(found))
    return found


def _moves(states: dict[Sharding, int], shape: tuple[int, ...], mesh: Mesh) -> list[_Move]:
    moves = []
    rank = len(shape)
    # `collective_steps` asks the target only which axes it uses, and for cuts by several of them in which dimension.
    anywhere = [Sharding(tuple(mesh.axes if dim == at else () for dim in range(rank))) for at in range(max(rank, 1))]
    alike: dict[object, list[Sharding]] = {}
    for state in states:
        alike.setdefault(_pieces(state, mesh), []).append(state)
    for state, number in states.items():
        steps = dict.fromkeys(step for target in anywhere for step in collective_steps(state, target, shape, mesh))
        for step in steps:
            if step.after in states:
                moves.append(_Move(number, states[step.after], _parts((step,), mesh)))
        for other in alike[_pieces(state, mesh)]:
            if other != state:
                axes = exchange_of(state, other, mesh)[0]
                moves.append(_Move(number, states[other], ((StepKind.PERMUTE, axes, 1.0),)))
        for way in shortcuts(state, active_axes(mesh), shape, mesh):
            moves.append(_Move(number, states[way[-1].after], _parts(way, mesh)))
        present = {*state.axes(), *(axis for axis, _ in state.partial)}
        for axis in active_axes(mesh):
            # A whole value is a partial sum when one device keeps it and the others hold zero.
            if axis not in present and all(kind is Combiner.ADD for _, kind in state.partial):
                after = state.with_partial(dict(state.partial) | {axis: Combiner.ADD})
                if after in states:
                    moves.append(_Move(number, states[after], (("once", (axis,), 1.0),)))
    return moves


def _pieces(state: Sharding, mesh: Mesh) -> object:
    """What states have in common between which permutes lead."""
    return tuple(mesh.size(axes) for axes in state.dims), state.partial


def _parts(way: tuple[Step, ...], mesh: Mesh) -> tuple[_Part, ...]:
    """What steps after each other move: the larger buffer on a device, in bytes that it holds in front of the first."""
    parts: list[_Part] = []
    held = 1.0
    for step in way:
        devices = mesh.size(step.axes)
        after = held * {StepKind.ALL_GATHER: devices, StepKind.ALL_SLICE: 1 / devices}.get(step.kind, 1)
        parts.append((step.kind, step.axes, after))
        held = after
    return tuple(parts)
