"""Refining the mesh: an axis that has to cover two dimensions is taken apart into sub-axes.

Eight elements on `x` of size 4 that become 2×4 lie on `x:(1)2` and `x:(2)2`; two key-value heads on an axis of four
devices lie on its first half, `x:(1)2`, and are copies of each other along the second. The sub-axes are axes of the
mesh like others, so nothing else has to know of them. Where an axis is taken apart is found by propagation: wherever a
reshape could not take an axis along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import gcd

from jogak.sharding.constraints import Seed
from jogak.sharding.graph import Graph
from jogak.sharding.mesh import Mesh, Part
from jogak.sharding.outcome import Lost, Propagated
from jogak.sharding.propagation import propagate


def propagate_refined(
    graph: Graph, mesh: Mesh, seeds_on: Callable[[Mesh], Sequence[Seed]], *, agreed: bool = False
) -> tuple[Mesh, Propagated]:
    """Propagate on the mesh, taken apart as far as that lets reshapes keep shardings.

    Args:
        seeds_on: the constraints by the axes of a mesh.
        agreed: how propagation deals with tensors that disagree.

    Returns:
        the refined mesh, and the outcome on it.
    """
    while True:
        result = propagate(graph, mesh, seeds_on(mesh), agreed=agreed)
        finer = refined(mesh, result.lost)
        if finer == mesh:
            return mesh, result
        mesh = finer


def suggested(graph: Graph, mesh: Mesh, most_axes: int) -> Mesh:
    """The mesh as a search may want it: cut where the largest tensors are reshaped with a factor that shares one.

    Args:
        most_axes: that it may have; every axis multiplies what a search has to choose from.
    """
    wanted: dict[tuple[str, int], int] = {}
    for node in graph.nodes:
        for value, dims in node.tensors():
            for members in dims:
                sizes = [node.rule.factors[member].size for member in members]
                for axis, size in mesh.sizes.items() if len(sizes) > 1 else ():
                    if 1 < gcd(sizes[0], size) < size:
                        cut = axis, gcd(sizes[0], size)
                        wanted[cut] = wanted.get(cut, 0) + graph.values[value].bytes
    for axis, at in sorted(wanted, key=lambda cut: (-wanted[cut], cut)):
        part = Part.parse(axis)
        if part is not None and len(mesh.axes) < most_axes and axis in mesh.sizes:
            mesh = mesh.cut({part.axis: [part.before * at]})
    return mesh


def refined(mesh: Mesh, lost: Iterable[Lost]) -> Mesh:
    """The mesh with a cut for each lost axis of which a part could have split the factor."""
    for each in lost:
        axis = each.axes[0]
        part, size = Part.parse(axis), mesh.sizes.get(axis, 1)  # an axis that was cut before counts in the next round
        room, rest = divmod(each.sizes[each.at], each.pieces)
        fits = 1 if rest else gcd(room, size)
        if part is not None and 1 < fits < size and mesh.can_cut(part.axis, part.before * fits):
            mesh = mesh.cut({part.axis: [part.before * fits]})
    return mesh
