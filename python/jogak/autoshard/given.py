"""The user's constraints in the search: restrictions of what values can be chosen to lie like, and values that agree.

All constraints hold in a plan, whatever their priorities: these say only in which order propagation goes. Barriers mean
nothing here, since every op is decided by its cost and not by what its neighbours hand on.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from jogak.autoshard.model import Model
from jogak.autoshard.strategies import active_axes, placements
from jogak.errors import JogakError
from jogak.sharding.constraints import Seed, settle
from jogak.sharding.graph import Graph
from jogak.sharding.groups import groups_of
from jogak.sharding.mesh import Mesh
from jogak.sharding.padding import splits
from jogak.sharding.sharding import Sharding


def given_shardings(graph: Graph, mesh: Mesh, seeds: Sequence[Seed]) -> Mapping[int, tuple[Sharding, ...]]:
    """For each constrained value the shardings that its constraints leave; values of a group have one tuple.

    Raises:
        JogakError: two constraints contradict each other.
    """
    asked = _restrictions([_on_active_axes(seed, mesh) for seed in seeds])
    grouped = groups_of(graph, [seed for each in asked.values() for seed in each])
    inside = {value for members in grouped for value in members}
    found: dict[int, tuple[Sharding, ...]] = {}
    for members in [*grouped, *((value,) for value in asked if value not in inside)]:
        requests = [seed for value in members for seed in asked[value]]
        options = _options([graph.values[value].shape for value in members], mesh, requests)
        left = _restricted(options, requests)
        found |= dict.fromkeys(members, left)
    return found


def _restrictions(seeds: Sequence[Seed]) -> dict[int, list[Seed]]:
    """What is asked of each value that the search has to keep, by priority."""
    asked: dict[int, list[Seed]] = {}
    for seed in sorted(settle(seeds), key=lambda seed: seed.priority):
        if seed.placed or seed.replicated or seed.group:
            asked.setdefault(seed.value, []).append(seed)
    return asked


def _on_active_axes(seed: Seed, mesh: Mesh) -> Seed:
    """The constraint without axes of one device, which split nothing and which no strategy names."""
    active = set(active_axes(mesh))

    def kept(axes: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(axis for axis in axes if axis in active)

    dims = tuple(replace(dim, axes=kept(dim.axes)) for dim in seed.dims)
    return replace(seed, dims=dims, somewhere=kept(seed.somewhere), replicated=kept(seed.replicated))


def _options(shapes: Sequence[tuple[int, ...]], mesh: Mesh, requests: Sequence[Seed]) -> tuple[Sharding, ...]:
    """How values of these shapes can all lie, axes in the order in which a request names them included."""
    asked = [Sharding(tuple(dim.axes for dim in seed.dims)) for seed in requests if _names_dims(seed)]
    exact = [
        each for each in asked
        if all(splits(size, split, mesh) for size, split in zip(shapes[0], each.dims, strict=True))
    ]  # fmt: skip
    every = dict.fromkeys([*exact, *placements(shapes[0], mesh)])
    for shape in shapes[1:]:
        possible = {*exact, *placements(shape, mesh)}
        every = {each: None for each in every if each in possible}
    return tuple(every)


def _restricted(options: tuple[Sharding, ...], requests: Sequence[Seed]) -> tuple[Sharding, ...]:
    held: list[Seed] = []
    for seed in requests:
        left = tuple(each for each in options if _fits(each, seed))
        if not left:
            raise _contradiction(seed, held, options)
        options = left
        held.append(seed)
    return options


def _names_dims(seed: Seed) -> bool:
    return seed.placed and not seed.somewhere


def _fits(sharding: Sharding, seed: Seed) -> bool:
    used = set(sharding.axes())
    if not used.issuperset(seed.somewhere) or used & set(seed.replicated):
        return False
    return not _names_dims(seed) or all(
        axes[: len(dim.axes)] == dim.axes and (dim.open or axes == dim.axes)
        for axes, dim in zip(sharding.dims, seed.dims, strict=True)
    )


def _contradiction(seed: Seed, held: Sequence[Seed], options: Sequence[Sharding]) -> JogakError:
    """The error that names both constraints; what they leave together may be nothing only because of the sizes."""
    others = [other for other in held if not any(_fits(each, seed) and _fits(each, other) for each in options)]
    names = ", ".join(dict.fromkeys(other.source for other in others or held))
    if not names:
        return JogakError(
            f"{seed.request} fits no sharding of the value", where=seed.source, hint="its dimensions are too small"
        )
    return JogakError(
        f"{seed.request} contradicts {names}",
        where=seed.source,
        hint="drop one of the two; without the search (--no-search) the one of the later priority gives way",
    )


def marks_of(seeds: Sequence[Seed]) -> dict[int, Hashable]:
    """What tells the constraints of values from each other; values under different ones never share a decision."""
    marks: dict[int, Hashable] = {}
    for value, requests in _restrictions(seeds).items():
        marks[value] = tuple(sorted(str(replace(seed.request, barrier=None)) for seed in requests))
    return marks


def tie_groups(model: Model, seeds: Sequence[Seed]) -> None:
    """Make the values of each group agree: what differs costs infinitely much."""
    sites = model.sites
    for members in groups_of(sites.graph, settle(seeds)):
        numbers = list(dict.fromkeys(sites.home(value)[0] for value in members))
        for first, second in pairwise(numbers):
            states = len(sites.sites[first])
            tied = np.where(np.eye(states, dtype=bool), 0.0, np.inf)
            model.add_edge(first, second, tied)
