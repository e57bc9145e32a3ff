"""Reading problems from files."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

from jogak.errors import JogakError
from jogak.search.problem import Problem, check_problem

_HINT = "the format is that of the contest on intra-operator parallelism: github.com/google/iopddl"


def read_problem(path: Path | str) -> Problem:
    """Read a problem in the JSON format of the ASPLOS/EuroSys 2025 contest, plain or gzip-compressed.

    Raises:
        JogakError: the file cannot be read, is not of that format, or its parts do not fit together.
    """
    path = Path(path)
    text = _read(path)
    try:
        data = json.loads(text)
    except ValueError as error:
        raise JogakError(f"not a JSON file: {error}", where=str(path)) from error
    problem = _problem(data, str(path))
    check_problem(problem, str(path))
    return problem


def _read(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise JogakError(f"cannot read the problem: {error}", where=str(path)) from error


def _problem(data: Any, where: str) -> Problem:
    try:
        body = data["problem"]
        nodes, edges, limit = body["nodes"], body["edges"], body.get("usage_limit")
        problem = Problem(nodes["costs"], nodes["usages"], nodes["intervals"], edges["nodes"], edges["costs"], limit)
    except (KeyError, TypeError, AttributeError) as error:
        raise JogakError(f"no such key in the problem: {error}", where=where, hint=_HINT) from error
    tables = {
        "nodes.costs": problem.costs,
        "nodes.usages": problem.usages,
        "nodes.intervals": problem.intervals,
        "edges.nodes": problem.edges,
        "edges.costs": problem.edge_costs,
    }
    for name, table in tables.items():
        _require_integers(name, table, where)
    for name in ("nodes.intervals", "edges.nodes"):
        _require(all(len(pair) == 2 for pair in tables[name]), f"problem.{name} does not hold pairs", where)
    _require(limit is None or type(limit) is int, "problem.usage_limit is not an integer", where)
    return problem


def _require_integers(name: str, table: Any, where: str) -> None:
    lists: Callable[[Any], bool] = lambda value: isinstance(value, list)  # noqa: E731
    ok = lists(table) and all(map(lists, table)) and set(map(type, chain.from_iterable(table))) <= {int}
    _require(ok, f"problem.{name} is not a list of lists of integers", where)


def _require(condition: bool, message: str, where: str) -> None:
    if not condition:
        raise JogakError(message, where=where, hint=_HINT)
