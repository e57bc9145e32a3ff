"""Checks plain data against a JSON Schema, with errors for people: the table, the key, the nearest known key.

It reads the part of JSON Schema (2020-12) that `machine.schema.json` uses; another keyword in a schema is a `KeyError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jogak.errors import JogakError, nearest

Schema = Mapping[str, Any]

_TYPES = {
    "object": "a table",
    "array": "an array",
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
}
_NOTES = {"$schema", "title", "description", "required", "properties", "additionalProperties", "items"}
"""Keywords that say nothing about a single value."""


def check(value: Any, schema: Schema, where: str, path: str = "") -> None:
    """Refuse a value that the schema does not allow.

    Args:
        where: the file, for the error.
        path: the table or key in it: `device.flops`.

    Raises:
        JogakError: the first thing that is wrong.
    """
    for keyword, wanted in schema.items():
        if keyword not in _NOTES:
            _CHECKS[keyword](value, wanted, where, path)
    if isinstance(value, dict):
        _check_table(value, schema, where, path)
    if isinstance(value, list):
        for number, item in enumerate(value):
            check(item, schema["items"], where, f"{path}[{number}]")


def _check_table(table: Mapping[str, Any], schema: Schema, where: str, path: str) -> None:
    known: Mapping[str, Schema] = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    title = f"table [{path}]" if path else "the file"
    for key in table:
        if key not in known and others is False:
            close = nearest(key, known)
            hint = f"did you mean {close!r}?" if close else f"known: {', '.join(known)}"
            raise JogakError(f"unknown key {key!r} in {title}", where=where, hint=hint)
    for key in schema.get("required", ()):
        if key not in table:
            about = known[key].get("description", _TYPES.get(known[key].get("type", ""), "a value"))
            raise JogakError(f"{title} lacks the key {key!r}", where=where, hint=f"{key}: {about}")
    for key, value in table.items():
        check(value, known.get(key, others), where, f"{path}.{key}" if path else key)


def _check_type(value: Any, wanted: str, where: str, path: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    right = {
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
        "string": isinstance(value, str),
        "number": number,
        "boolean": isinstance(value, bool),
        "integer": number and float(value).is_integer(),
    }[wanted]
    if not right:
        raise JogakError(f"{path} is {value!r}, not {_TYPES[wanted]}", where=where, hint=f"give {_TYPES[wanted]}")


def _check_enum(value: Any, wanted: list[str], where: str, path: str) -> None:
    if value not in wanted:
        close = nearest(value, wanted) if isinstance(value, str) else None
        hint = f"did you mean {close!r}?" if close else f"known: {', '.join(wanted)}"
        raise JogakError(f"{path} is {value!r}, which it cannot be", where=where, hint=hint)


def _bound(words: str, holds: Callable[[Any, float], bool]) -> Callable[[Any, Any, str, str], None]:
    """A check of a number; one that is not a number (`nan`) is never within a bound."""

    def bounded(value: Any, wanted: float, where: str, path: str) -> None:
        if not holds(value, wanted):
            hint = f"give a number {words} {wanted}"
            raise JogakError(f"{path} is {value!r}, not {words} {wanted}", where=where, hint=hint)

    return bounded


def _check_length(value: Any, wanted: int, where: str, path: str) -> None:
    if len(value) < wanted:
        raise JogakError(f"{path} is empty", where=where, hint=f"give at least {wanted} entry")


_CHECKS: Mapping[str, Callable[[Any, Any, str, str], None]] = {
    "type": _check_type,
    "enum": _check_enum,
    "minimum": _bound("of at least", lambda value, wanted: value >= wanted),
    "maximum": _bound("of at most", lambda value, wanted: value <= wanted),
    "exclusiveMinimum": _bound("above", lambda value, wanted: value > wanted),
    "minItems": _check_length,
    "minLength": _check_length,
}
