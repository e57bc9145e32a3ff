"""Why a value lies as it does: the chain from each mesh axis on it back to the constraint that put the axis there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from jogak.errors import unknown_name
from jogak.ir.context import new_context, parse_file
from jogak.ir.module import main_function
from jogak.partition.partition import cause_of
from jogak.registry import default_registry
from jogak.report.promise import collectives_of
from jogak.report.summary import size
from jogak.sharding.annotation import read_constraints, read_shardings
from jogak.sharding.graph import Graph
from jogak.sharding.mesh import Mesh
from jogak.sharding.propagation import Propagated, propagate
from jogak.sharding.reading import read_graph
from jogak.sharding.sharding import Sharding


@dataclass(frozen=True)
class Explanation:
    """A program with its shardings and where they came from.

    Attributes:
        graph: the program.
        mesh: the device mesh.
        shardings: as the program is annotated.
        propagated: what propagation gives from the constraints, with the origin of each axis.
    """

    graph: Graph
    mesh: Mesh
    shardings: list[Sharding]
    propagated: Propagated


def load_explanation(folder: Path, manifest: Mapping[str, Any]) -> Explanation:
    """Read the annotated program of an output folder and propagate its constraints again."""
    module = parse_file(folder / manifest["modules"]["program"], new_context())
    mesh = Mesh(tuple(manifest["mesh"]["axes"]), tuple(manifest["mesh"]["shape"]))
    function = main_function(module).operation
    reading = read_graph(function, default_registry().rules())
    seeds = read_constraints(function, reading, mesh)
    return Explanation(reading.graph, mesh, read_shardings(function, reading, mesh), propagate(reading.graph, mesh, seeds))


def explain_value(explanation: Explanation, pattern: str) -> str:
    """Every value whose name (an argument) or module path (an inner value) matches, with the reasons.

    Raises:
        JogakError: nothing matches.
    """
    graph = explanation.graph
    matched = [value.id for value in graph.values if value.name and fnmatchcase(value.name, pattern)]
    if not matched:
        names = sorted({value.name for value in graph.values if value.name})
        raise unknown_name("value", pattern, names)
    return "\n".join(line for value in matched for line in _lines(explanation, value))


def _lines(explanation: Explanation, value: int) -> Iterator[str]:
    described = explanation.graph.values[value]
    sharding = explanation.shardings[value]
    made = ""
    if described.producer is not None:
        node = explanation.graph.nodes[described.producer]
        made = f"  made by {node.op} at {node.location}"
    yield f"{described.name}: {sharding.describe(described.shape, described.element)}{made}"
    for axis in sharding.axes():
        yield from (f"    {line}" for line in _chain(explanation, value, axis))
    if not any(sharding.dims):
        yield "    on every device whole: no constraint reaches it"


def _chain(explanation: Explanation, value: int, axis: str) -> Iterator[str]:
    """From a value back to the constraint that its axis comes from."""
    graph, origins = explanation.graph, explanation.propagated.origins
    seen: set[int] = set()
    text = f"{axis}: "
    while value not in seen:
        seen.add(value)
        origin = origins.get((value, axis))
        if origin is None:
            yield f"{text}written in the program"
            return
        if origin.source:
            yield f"{text}given by {origin.source}"
            return
        if origin.value is None:
            return
        source = graph.values[origin.value]
        through = "its update" if origin.node is None else _through(graph, origin.node)
        shown = explanation.propagated.shardings[source.id].describe(source.shape, source.element)
        yield f"{text}from {source.name or 'a value'} {shown} through {through}"
        text = " " * len(axis) + "  "
        value = source.id


def _through(graph: Graph, number: int) -> str:
    node = graph.nodes[number]
    return f"{node.op} at {node.location}"


def explain_plan(folder: Path, manifest: Mapping[str, Any]) -> str:
    """The whole plan: each argument's sharding, then each collective with its cause."""
    lines = ["arguments:"]
    for argument in manifest["arguments"]:
        sharding = Sharding.parse(argument["sharding"])
        lines.append(f"  {argument['name']}: {sharding.describe(argument['shape'], argument['element'])} ({argument['role']})")
    module = parse_file(folder / manifest["modules"]["device"], new_context())
    mesh = Mesh(tuple(manifest["mesh"]["axes"]), tuple(manifest["mesh"]["shape"]))
    lines.append("collectives, in program order:")
    for each in collectives_of(main_function(module).operation, mesh):
        lines.append(f"  {each.kind} on {','.join(each.axes)}, {size(each.bytes)}: {cause_of(each.op)}")
    return "\n".join(lines)


