"""Which values a pattern names: arguments by name or role, inner values by module path or source line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from jogak.errors import JogakError, nearest, unknown_name
from jogak.sharding.graph import Graph, Node

_PLACE = re.compile(r"(?P<file>.+?):(?P<line>\d+)(?: \(.*\))?$")


@dataclass(frozen=True)
class Argument:
    """What a constraint can match.

    Attributes:
        name: fully qualified parameter name or input name; of an inner value its module path or source line.
        role: `parameter`, `buffer`, `optimizer_state`, `input` or `seed`; `value` for an inner value.
        shape: shape in the program.
        logical: shape in the user's model, which differs where a fused projection was exposed.
        shares: for each dimension of that, where it is stored as shares, what a share holds of each part; else nothing.
    """

    name: str
    role: str
    shape: tuple[int, ...]
    logical: tuple[int, ...]
    shares: tuple[tuple[int, ...], ...] = ()

    def layout(self) -> dict[str, Any]:
        """What the manifest says about the order of its elements."""
        found: dict[str, Any] = {"shape": list(self.shape)}
        if self.logical != self.shape:
            found["logical_shape"] = list(self.logical)
        if any(self.shares):
            found["shares"] = [list(sizes) for sizes in self.shares]
        return found


def select(pattern: str, arguments: Sequence[Argument], graph: Graph | None) -> dict[int, Argument]:
    """The values that a pattern names, by value number.

    - `blocks.*.up.weight`: arguments by a glob over their names;
    - `role:parameter`: all arguments of a role;
    - `module:blocks.*.mlp`: values that leave a module in the forward pass, `backward:…`: in the backward pass;
    - `at:model.py:57`: values that leave a line of source in the forward pass.

    Args:
        arguments: those of `@main`, whose positions are their value numbers.
        graph: the program; None when only arguments are known.

    Raises:
        JogakError: it names nothing; the hint says what is near.
    """
    kind, colon, rest = pattern.partition(":")
    if colon and kind == "role":
        found = {number: each for number, each in enumerate(arguments) if each.role == rest}
        if not found:
            error = unknown_name("role", rest, {each.role for each in arguments})
            raise JogakError("the pattern matches no argument", hint=f"{error.message}; {error.hint}")
        return found
    if colon and kind in ("module", "backward", "at"):
        return _inner(kind, rest, graph)
    found = {number: each for number, each in enumerate(arguments) if fnmatchcase(each.name, pattern)}
    if not found:
        raise JogakError("the pattern matches no argument", hint=_near_argument(pattern, arguments, graph))
    return found


def _near_argument(pattern: str, arguments: Sequence[Argument], graph: Graph | None) -> str:
    plain = pattern.replace("*", "")
    if graph is not None and any(fnmatchcase(path, pattern) for path in _module_paths(graph)):
        return f"it is the path of a module: 'module:{pattern}' names the values that leave it"
    close = nearest(plain, [argument.name for argument in arguments])
    if close:
        return f"the nearest name is {close!r}"
    inputs = ", ".join(argument.name for argument in arguments if argument.role == "input")
    return f"inputs: {inputs}; parameters have their PyTorch names"


def _inner(kind: str, pattern: str, graph: Graph | None) -> dict[int, Argument]:
    if graph is None:
        raise JogakError("inner values are known once the program is imported", hint="name an argument")
    forward = forward_nodes(graph)
    belongs = _by_line(pattern) if kind == "at" else _by_module(pattern)
    found: dict[int, Argument] = {}
    for node in graph.nodes:
        home = belongs(node)
        if home is None or (node.index in forward) != (kind != "backward"):
            continue
        for value in node.results:
            if _leaves(graph, value, home, belongs):
                shape = graph.values[value].shape
                found[value] = Argument(f"{home} at {node.location}", "value", shape, shape)
    if not found:
        raise JogakError("the pattern matches no inner value", hint=_near_inner(kind, pattern, graph))
    return found


def forward_nodes(graph: Graph) -> set[int]:
    """Numbers of the nodes that the outputs and the loss depend on; the others make gradients and updates."""
    wanted = [value for at, value in enumerate(graph.results) if value is not None and at not in graph.updates]
    found: set[int] = set()
    while wanted:
        producer = graph.values[wanted.pop()].producer
        if producer is not None and producer not in found:
            found.add(producer)
            wanted += [value for value in graph.nodes[producer].operands if value is not None]
    return found


_Home = Callable[[Node], str | None]
"""To which of the modules or lines that a pattern names a node belongs."""


def _by_module(pattern: str) -> _Home:
    def home(node: Node) -> str | None:
        return next((path for path in _prefixes(scope_of(node)) if fnmatchcase(path, pattern)), None)

    return home


def _by_line(pattern: str) -> _Home:
    wanted = _PLACE.match(pattern)
    if wanted is None:
        raise JogakError(f"cannot read {pattern!r} as a source line", hint="write at:model.py:57")

    def home(node: Node) -> str | None:
        place = _PLACE.match(node.location)
        same = place is not None and place["line"] == wanted["line"] and _is_file(place["file"], wanted["file"])
        return pattern if same else None

    return home


def _is_file(path: str, pattern: str) -> bool:
    return path.endswith(f"/{pattern}") or fnmatchcase(path, pattern)


def scope_of(node: Node) -> str:
    """The module path of a node; empty where it has none."""
    place = re.fullmatch(r".+?:\d+ \((.*)\)", node.location)
    if place is not None:
        return place[1]
    return "" if _PLACE.match(node.location) or node.location.startswith("<") else node.location


def _prefixes(scope: str) -> Iterator[str]:
    """`a.b.c`: `a`, `a.b`, `a.b.c`."""
    parts = scope.split(".") if scope else []
    return (".".join(parts[: count + 1]) for count in range(len(parts)))


def _leaves(graph: Graph, value: int, home: str, belongs: _Home) -> bool:
    """Whether somebody outside of its module or line uses a value."""
    users = [graph.nodes[index] for index in graph.neighbours[value] if value in graph.nodes[index].operands]
    return value in graph.results or any(belongs(user) != home for user in users)


def _module_paths(graph: Graph) -> set[str]:
    return {path for node in graph.nodes for path in _prefixes(scope_of(node))}


def _near_inner(kind: str, pattern: str, graph: Graph) -> str:
    if kind != "at":
        paths = _module_paths(graph)
        if any(fnmatchcase(path, pattern) for path in paths):
            return "no value leaves it there; 'backward:' names those of the backward pass"
        close = nearest(pattern.replace("*", ""), paths)
        return f"the nearest module is {close!r}" if close else "modules have their PyTorch paths"
    wanted = _PLACE.match(pattern)
    assert wanted is not None, "the pattern was read before"
    places = {place for node in graph.nodes if (place := _PLACE.match(node.location)) is not None}
    lines = sorted({int(place["line"]) for place in places if _is_file(place["file"], wanted["file"])})
    if lines:
        return f"the nearest line that computes a tensor is {_closest(int(wanted['line']), lines)}"
    files = {place["file"].rpartition("/")[2] for place in places}
    close = nearest(wanted["file"], files)
    return f"the nearest file is {close!r}" if close else f"files: {', '.join(sorted(files)) or 'none are known'}"


def _closest(line: int, lines: Iterable[int]) -> int:
    return min(lines, key=lambda each: (abs(each - line), each))
