"""Why the plan is as it is: every argument and collective, and for a value the way back to the constraint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from jogak.configuration import Configuration
from jogak.errors import JogakError, nearest
from jogak.ir.context import new_context, parse_file
from jogak.ir.module import main_function
from jogak.registry import registry_of
from jogak.report.alternatives import Searched, alternatives, search_again
from jogak.report.communication import alike
from jogak.report.families import family, template_of
from jogak.report.manifest import file_of
from jogak.sharding.annotation import read_constraints, read_shardings
from jogak.sharding.graph import Graph
from jogak.sharding.mesh import Mesh
from jogak.sharding.outcome import Propagated
from jogak.sharding.propagation import propagate
from jogak.sharding.reading import read_graph
from jogak.sharding.sharding import Sharding
from jogak.sharding.telling import describe_conflicts, describe_overruled
from jogak.text import size


@dataclass(frozen=True)
class Explanation:
    """A program with its shardings and where they came from.

    Attributes:
        graph: the program.
        mesh: the device mesh.
        shardings: as the program is annotated.
        propagated: what propagation gives from the constraints, with the origin of each axis.
        searched: the search that chose the plan; None where constraints and propagation did.
    """

    graph: Graph
    mesh: Mesh
    shardings: list[Sharding]
    propagated: Propagated
    searched: Searched | None = None


def load_explanation(folder: Path, manifest: Mapping[str, Any]) -> Explanation:
    """Read the annotated program of an output folder and propagate its constraints again.

    Raises:
        JogakError: the folder is incomplete, or a plug-in that it was compiled with is missing.
    """
    module = parse_file(file_of(folder, manifest["modules"]["program"]), new_context())
    mesh = Mesh.from_json(manifest["mesh"])
    function = main_function(module).operation
    registry = registry_of(Configuration.from_json(manifest["configuration"]).plugins)
    reading = read_graph(function, registry.rules())
    seeds = read_constraints(function, reading, mesh)
    propagated = propagate(reading.graph, mesh, seeds)
    searched = None if manifest["search"] is None else search_again(function, manifest)
    return Explanation(reading.graph, mesh, read_shardings(function, reading, mesh), propagated, searched)


def explain_value(explanation: Explanation, pattern: str) -> str:
    """Every value whose name (an argument) or module path (an inner value) matches, with the reasons.

    Raises:
        JogakError: nothing matches.
    """
    graph = explanation.graph
    matched = [value.id for value in graph.values if value.name and fnmatchcase(value.name, pattern)]
    if not matched:
        close = nearest(pattern, {value.name for value in graph.values if value.name})
        hint = (
            f"did you mean {close!r}?"
            if close
            else "jogak explain DIR lists the arguments; patterns such as '*.attn.*' work"
        )
        raise JogakError("there is no such argument or module path in the program", where=pattern, hint=hint)
    return "\n".join(line for value in matched for line in _lines(explanation, value))


def _lines(explanation: Explanation, value: int) -> Iterator[str]:
    described = explanation.graph.values[value]
    sharding = explanation.shardings[value]
    made = ""
    if described.producer is not None:
        node = explanation.graph.nodes[described.producer]
        made = f"  made by {node.op} at {node.location}"
    told = sharding.told(explanation.mesh).describe(described.shape, described.element)
    yield f"{described.name}: {told}{made}"
    if explanation.searched is not None:
        yield from (f"    {line}" for line in alternatives(explanation.searched, value))
        return
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
        placed = explanation.propagated.shardings[source.id].told(explanation.mesh)
        shown = placed.describe(source.shape, source.element)
        yield f"{text}from {source.name or 'a value'} {shown} through {through}"
        text = " " * len(axis) + "  "
        value = source.id


def _through(graph: Graph, number: int) -> str:
    node = graph.nodes[number]
    return f"{node.op} at {node.location}"


def explain_plan(folder: Path, manifest: Mapping[str, Any]) -> str:
    """The whole plan: each argument's sharding, then each collective with its cause; repeated layers are one line.

    Raises:
        JogakError: the folder is incomplete.
    """
    module = parse_file(file_of(folder, manifest["modules"]["device"]), new_context())
    function = main_function(module).operation
    lines = ["arguments:", *_arguments(manifest["arguments"])]
    groups = alike(function, Mesh.from_json(manifest["mesh"]), [result["role"] for result in manifest["results"]])
    lines.append(f"collectives, {sum(map(len, groups.values()))} in all:" if groups else "no collectives")
    for like, scopes in groups.items():
        times = f"{size(like.bytes)} each, {len(scopes)} times" if len(scopes) > 1 else size(like.bytes)
        name = "several values" if like.members else family(scopes) or "the model"
        lines.append(f"  {name}: {like.kind} on {like.axes}, {times}")
        at = f"at {like.place}" if like.place else ""
        lines.append("      " + ", ".join(filter(None, [like.cause, like.part, at])))
        lines += [f"      {member}" for member in like.members]
    return "\n".join(lines)


def explain_conflicts(explanation: Explanation) -> list[str]:
    """What propagation could not do for all constraints at once, with the places of both; nothing where it could."""
    graph, found = explanation.graph, explanation.propagated
    lines = [f"  {graph.values[each.value].name}: {describe_overruled(each)[0]}" for each in found.overruled]
    lines += [f"  {text} ({graph.nodes[node].location})" for text, node in describe_conflicts(found, graph)]
    return ["constraints that meet:", *lines] if lines else []


def _arguments(described: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One line for arguments of repeated layers; optimizer state by itself only where it lies unlike its parameter."""
    placed = {argument["name"]: _placed(argument) for argument in described}
    groups: dict[tuple[str, str, str], list[str]] = {}
    followers: dict[str, int] = {}
    for argument in described:
        name, role = argument["name"], argument["role"]
        slot, _, parameter = name.partition(".")
        if role == "optimizer_state" and placed.get(parameter) == placed[name]:
            followers[slot] = followers.get(slot, 0) + 1
            continue
        groups.setdefault((template_of(name), placed[name], role), []).append(name)
    for (_, lies, role), names in groups.items():
        yield f"  {family(names)}: {lies} ({role})"
    for slot, count in followers.items():
        yield f"  {slot}.*: {count} tensors, each as its parameter (optimizer_state)"


def _placed(argument: Mapping[str, Any]) -> str:
    return Sharding.parse(argument["sharding"]).describe(argument["shape"], argument["element"])
