"""Sentences on what propagation could not do, with the places of both constraints where two meet."""

from __future__ import annotations

from collections.abc import Iterator

from jogak.sharding.graph import Graph
from jogak.sharding.mesh import Mesh
from jogak.sharding.outcome import Conflict, Lost, Overruled, Propagated
from jogak.sharding.projection import Axes


def describe_overruled(overruled: Overruled) -> tuple[str, str]:
    """Why a constraint does not hold, and what to do."""
    wanted, got = " ".join(overruled.wanted) or "_", " ".join(overruled.got) or "_"
    what = "no dimension is" if overruled.dim is None else f"dimension {overruled.dim} is not"
    text = f"{what} split by {wanted} as {overruled.source} asks: "
    if wanted == "_" and overruled.dim is not None:
        text = f"dimension {overruled.dim} is not whole as {overruled.source} asks: "
    if not overruled.other:
        return f"{text}no dimension is open and large enough", "write '?' instead of '_' where it may be split"
    if overruled.equal:
        return f"{text}{overruled.other} asks otherwise", "drop one of the two, or give one a later priority (p1)"
    given = f"gave the value {got}" if overruled.dim is None else f"gave it {got}, or those axes to another dimension"
    return (
        f"{text}{overruled.other}, of an earlier priority, {given}",
        "drop one of the two, or change their priorities",
    )


def describe_conflicts(result: Propagated, graph: Graph) -> Iterator[tuple[str, int]]:
    """A sentence for each pair of constraints that meet, and the first op where they do."""
    alike: dict[tuple[str, str, Axes, Axes], list[Conflict]] = {}
    for conflict in result.conflicts:
        (kept, axes), (moved, others) = conflict.kept, conflict.given_up
        key = (result.root(kept, axes[-1]) if axes else "", result.root(moved, others[-1]), axes, others)
        alike.setdefault(key, []).append(conflict)
    for (kept_by, moved_by, axes, others), found in alike.items():
        first = found[0]
        more = f", and in {len(found) - 1} more ops" if len(found) > 1 else ""
        yield (
            f"{_described(graph, first.given_up[0])} is split by {' '.join(others)} because of "
            f"{moved_by or 'the program'}, which {graph.nodes[first.node].op} cannot keep beside {' '.join(axes)} of "
            f"{_described(graph, first.kept[0])} because of {kept_by or 'the program'}: it is moved there{more}",
            first.node,
        )


def _described(graph: Graph, value: int) -> str:
    described = graph.values[value]
    if described.producer is None:
        return repr(described.name)
    return f"the result at {graph.nodes[described.producer].location}"


def describe_lost(lost: Lost, graph: Graph, mesh: Mesh) -> str:
    """That a reshape does not take axes along, and why."""
    name, axes = graph.values[lost.value].name or "a value", " ".join(mesh.told(lost.axes))
    devices, parts = mesh.size(lost.axes), "x".join(map(str, lost.sizes))
    left = lost.sizes[lost.at] // lost.pieces
    why = f"{devices} devices do not divide the {left} of {parts}"
    if left % devices == 0:
        why = f"the {lost.sizes[lost.at]} of {parts} is not the major part, or the major part is not split completely"
    return (
        f"{name}: mesh axis {axes!r} splits dimension {lost.dim}, but not what a reshape makes of it: {why}; "
        "it is whole on that axis there"
    )
