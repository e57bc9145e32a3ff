"""Graphs in JSON files: NetworkX node-link data, as the Checkmate and MOCCASIN projects publish their benchmarks."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from jogak.errors import JogakError
from jogak.memory.remat.graph import RematGraph, check_graph

_ID_KEYS = ("id", "name")
_LINK_KEYS = (("source", "target"), ("0", "1"))
_COST_KEYS = ("cost_cpu", "duration")
_SIZE_KEYS = ("cost_ram", "out_cost")
_HINT = (
    "node-link JSON: a list 'nodes' of objects with 'id' (or 'name'), 'cost_cpu' (or 'duration') and 'cost_ram' "
    "(or 'out_cost', bytes), and a list 'links' of objects with 'source' and 'target' (or '0' and '1'); "
    "'graph': {'order': [...]} may give the order of the program, else it is the order of the nodes"
)


def read_graph(path: Path) -> RematGraph:
    """Read a graph from node-link JSON.

    Raises:
        JogakError: the file cannot be read, is not of that format, or holds a cycle or a negative number.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise JogakError(f"cannot read the graph: {error.strerror}", where=str(path)) from error
    except ValueError as error:
        raise JogakError(f"not a JSON file: {error}", where=str(path), hint=_HINT) from error
    graph = _graph(data, str(path))
    check_graph(graph, str(path))
    return graph


def _graph(data: Any, where: str) -> RematGraph:
    nodes = _objects(data, ("nodes",), where)
    links = _objects(data, ("links", "edges"), where)
    names = [_name(_value(node, _ID_KEYS, f"{where}: node {index}"), where) for index, node in enumerate(nodes)]
    place = {name: index for index, name in enumerate(names)}
    if len(place) < len(names):
        twice = next(name for index, name in enumerate(names) if place[name] != index)
        raise JogakError(f"two nodes are called {twice!r}", where=where)
    labels = [f"{where}: node {name!r}" for name in names]
    cost = [_number(_value(node, _COST_KEYS, label), label) for node, label in zip(nodes, labels, strict=True)]
    size = [_bytes(_value(node, _SIZE_KEYS, label), label) for node, label in zip(nodes, labels, strict=True)]
    edges = [_edge(link, place, f"{where}: link {index}") for index, link in enumerate(links)]
    return RematGraph(cost, size, edges, names=names, input_order=_order(data, place, where))


def _order(data: dict[str, Any], place: dict[Hashable, int], where: str) -> list[int]:
    attributes = data.get("graph")
    order = attributes.get("order", []) if isinstance(attributes, dict) else []
    if not isinstance(order, list):
        raise JogakError("'order' of the graph is not a list of nodes", where=where)
    return [_place(node, place, f"{where}: order") for node in order]


def _objects(data: Any, keys: tuple[str, ...], where: str) -> list[dict[str, Any]]:
    found = _value(data, keys, where) if isinstance(data, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise JogakError(f"{keys[0]!r} is not a list of objects", where=where, hint=_HINT)
    return found


def _value(entry: dict[str, Any], keys: tuple[str, ...], where: str) -> Any:
    for key in keys:
        if key in entry:
            return entry[key]
    raise JogakError(f"no {' or '.join(map(repr, keys))}", where=where, hint=_HINT)


def _name(value: Any, where: str) -> Hashable:
    if not isinstance(value, int | str):
        raise JogakError(f"node is called {value!r}, neither a string nor an integer", where=where, hint=_HINT)
    return value


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise JogakError(f"{value!r} is not a number", where=where, hint=_HINT)
    return value


def _bytes(value: Any, where: str) -> int:
    number = _number(value, where)
    if number != int(number):
        raise JogakError(f"{value!r} is not a whole number of bytes", where=where)
    return int(number)


def _edge(link: dict[str, Any], place: dict[Hashable, int], where: str) -> tuple[int, int]:
    for keys in _LINK_KEYS:
        if all(key in link for key in keys):
            ends = [link[key] for key in keys]
            break
    else:
        raise JogakError("no 'source' and 'target'", where=where, hint=_HINT)
    return _place(ends[0], place, where), _place(ends[1], place, where)


def _place(name: Any, place: dict[Hashable, int], where: str) -> int:
    if not isinstance(name, int | str) or name not in place:
        raise JogakError(f"there is no node {name!r}", where=where)
    return place[name]
