"""Sharding groups: values that lie alike because the user says so."""

from __future__ import annotations

from collections.abc import Sequence

from jogak.errors import JogakError
from jogak.sharding.constraints import Seed
from jogak.sharding.graph import Graph


def groups_of(graph: Graph, seeds: Sequence[Seed]) -> list[tuple[int, ...]]:
    """The values of each group, sorted; groups that share a value are one.

    Raises:
        JogakError: values of a group have different numbers of dimensions.
    """
    named: dict[str, dict[int, Seed]] = {}
    for seed in seeds:
        if seed.group:
            named.setdefault(seed.group, {}).setdefault(seed.value, seed)
    found: list[set[int]] = []
    for name, members in named.items():
        _check_ranks(graph, name, list(members.values()))
        joined = set(members)
        for other in [each for each in found if each & joined]:
            found.remove(other)
            joined |= other
        found.append(joined)
    return [tuple(sorted(each)) for each in found if len(each) > 1]


def _check_ranks(graph: Graph, name: str, members: Sequence[Seed]) -> None:
    first = members[0]
    rank = len(graph.values[first.value].shape)
    for seed in members:
        shape = graph.values[seed.value].shape
        if len(shape) != rank:
            raise JogakError(
                f"the values of group {name!r} cannot lie alike: {list(graph.values[first.value].shape)} of "
                f"{first.source} and {list(shape)} of {seed.source}",
                where=seed.source,
                hint="values of a group have equally many dimensions; use two groups",
            )
