"""The options of Python passes: the typed fields of a frozen dataclass, written in kebab-case in a pipeline."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, get_type_hints

from jogak.errors import JogakError, unknown_name
from jogak.ir.pipeline import PassCall
from jogak.plugin import Pass

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_BRACKETS = ("{}", "[]", '""', "''")


@dataclass(frozen=True)
class Option:
    """One option of a pass, for people: `default` is its text, None where the option must be given."""

    name: str
    type: str
    default: str | None


def describe_options(kind: type[Pass]) -> list[Option]:
    """The options of a pass in the order of its fields."""
    types = _field_types(kind)
    described = []
    for field in fields(kind):
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        written = None if default is MISSING else format_value(default)
        described.append(Option(_kebab(field.name), _type_name(types[field.name]), written))
    return described


def build_pass(kind: type[Pass], call: PassCall) -> Pass:
    """Construct a pass from the options in a pipeline.

    Raises:
        JogakError: an option is unknown, given twice, missing, or its value is not of its type.
    """
    where = f"pass {call.name!r}"
    types = {_kebab(name): annotation for name, annotation in _field_types(kind).items()}
    values: dict[str, Any] = {}
    for key, text in call.options:
        if key not in types:
            raise unknown_name("option", key, types, where=where)
        if key in values:
            raise JogakError(f"option {key!r} is given twice", where=where, hint="keep one of the two")
        values[key] = _parse_value(text, types[key], f"{where}, option {key!r}")
    for option in describe_options(kind):
        if option.default is None and option.name not in values:
            hint = f"write {call.name}{{{option.name}=...}}, a value of type {option.type}"
            raise JogakError(f"option {option.name!r} is missing", where=where, hint=hint)
    return kind(**{key.replace("-", "_"): value for key, value in values.items()})


def format_value(value: object) -> str:
    """A value as a pipeline writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(format_value, value))
    text = str(value)
    return f'"{text}"' if re.search(r"\s", text) else text


def _field_types(kind: type[Pass]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def _type_name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) and annotation in _READERS else str(annotation)


def _strip(text: str) -> str:
    """Without the quotes or brackets that protect blanks and commas."""
    if len(text) > 1 and any(text[0] == pair[0] and text[-1] == pair[1] for pair in _BRACKETS):
        return text[1:-1]
    return text


def _read_bool(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError(text)
    return _BOOLEANS[text.lower()]


def _read_list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


_READERS: dict[Any, Callable[[str], Any]] = {
    bool: _read_bool,
    int: int,
    float: float,
    str: str,
    tuple[str, ...]: _read_list,
}
_EXPECTED = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    tuple[str, ...]: "a list a,b,c",
}


def _parse_value(text: str | None, annotation: Any, where: str) -> Any:
    if annotation not in _READERS:
        known = ", ".join(map(_type_name, _READERS))
        raise JogakError(f"the field has the type {annotation}", where=where, hint=f"an option is one of {known}")
    if text is None and annotation is bool:
        return True
    try:
        return _READERS[annotation](_strip(text or ""))
    except ValueError:
        expected = _EXPECTED[annotation]
        raise JogakError(f"cannot read {text or ''!r} as {expected}", where=where, hint=f"give {expected}") from None
