"""What reshapes do not take along: axes of a dimension that its factors cannot be split by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jogak.sharding.graph import Graph, Node
from jogak.sharding.mesh import Mesh
from jogak.sharding.outcome import Lost
from jogak.sharding.projection import project_dim
from jogak.sharding.sharding import Sharding


def find_lost(graph: Graph, shardings: Sequence[Sharding], mesh: Mesh) -> Iterator[Lost]:
    """Look at every dimension that is made of several factors."""
    for node in graph.nodes:
        for value, dims in node.tensors():
            for dim, members in enumerate(dims):
                if len(members) > 1:
                    axes = shardings[value].dims[dim]
                    found = _of_coarse(node, (value, dim, members), axes, mesh) if axes else None
                    found = found if axes else _of_fine(node, value, members, shardings)
                    if found is not None:
                        yield found


def _of_coarse(node: Node, coarse: tuple[int, int, tuple[int, ...]], axes: tuple[str, ...], mesh: Mesh) -> Lost | None:
    """A dimension that is split more than its factors can be."""
    value, dim, members = coarse
    factors = node.rule.factors
    found, left = project_dim(members, axes, factors, mesh)
    if not left:
        return None
    sizes = tuple(factors[member].size for member in members)
    pieces = [mesh.size(found.get(member, ())) for member in members]
    at = next(number for number, size in enumerate(sizes) if pieces[number] != size)
    return Lost(node.index, value, dim, sizes, at, pieces[at], left)


def _of_fine(node: Node, coarse: int, members: tuple[int, ...], shardings: Sequence[Sharding]) -> Lost | None:
    """A factor that is split in a dimension of its own, where the dimension that it is a part of is whole."""
    sizes = tuple(node.rule.factors[member].size for member in members)
    for at, member in enumerate(members):
        for value, dims in node.tensors():
            if value != coarse and (member,) in dims and (axes := shardings[value].dims[dims.index((member,))]):
                return Lost(node.index, value, dims.index((member,)), sizes, at, 1, axes)
    return None
