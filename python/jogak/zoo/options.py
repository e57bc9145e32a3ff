"""Model options as text (`layers=2`, `preset=8b`) into the frozen dataclass of a model, and back for `describe`.

A model's options are the fields of its `Config`; their types are `int`, `float`, `bool`, `str` or a `Literal` of
strings. Numbers are positive; where the default is 0, 0 is allowed too. A `Config` may hold `PRESETS`: named sets of
values, chosen by the option `preset`, over which the other options go.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from jogak.errors import JogakError, unknown_name

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")

_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True)
class Option:
    """One option of a model: its name, its type in words (`int`, `one of a, b`) and its default as text."""

    name: str
    type: str
    default: str


def type_name(kind: Any) -> str:
    """The type of an option in words for people."""
    return "one of " + ", ".join(get_args(kind)) if get_origin(kind) is Literal else str(kind.__name__)


def parse_value(name: str, text: str, kind: Any, where: str | None = None) -> Any:
    """Read the text of option `name` as a value of type `kind`.

    Raises:
        JogakError: the text is no such value, or not a finite number.
    """
    try:
        return _convert(text, kind)
    except (ValueError, KeyError):
        hint = f"expected {type_name(kind)}"
        raise JogakError(f"option {name!r} cannot be {text!r}", where=where, hint=hint) from None


def _convert(text: str, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        return get_args(kind)[get_args(kind).index(text)]
    if kind is bool:
        return _BOOLEANS[text.lower()]
    value = kind(text)
    if kind is float and not math.isfinite(value):
        raise ValueError(text)
    return value


def require_positive(name: str, value: object, where: str | None = None, *, zero: bool = False) -> None:
    """Raise when `value` is a number that is not positive; `zero` allows 0.

    Raises:
        JogakError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value > 0 or (zero and value == 0):
        return
    least = "not negative" if zero else "positive"
    raise JogakError(f"option {name!r} cannot be {value}", where=where, hint=f"{name} must be {least}")


def parse(config: type[C], texts: Mapping[str, str], where: str | None = None) -> C:
    """Make a `config` from the texts of its options.

    Args:
        config: a frozen dataclass whose fields all have defaults.
        texts: option name to text, `preset` among them where the class has `PRESETS`.
        where: what to name in an error (`zoo:gpt2`).

    Raises:
        JogakError: an option or preset is unknown, or a value has the wrong type or range.
    """
    presets: Mapping[str, Mapping[str, Any]] = getattr(config, "PRESETS", {})
    known = [*(field.name for field in fields(config)), *(["preset"] if presets else [])]
    types = get_type_hints(config)
    values: dict[str, Any] = {}
    if presets and "preset" in texts:
        if texts["preset"] not in presets:
            raise unknown_name("preset", texts["preset"], presets, where=where)
        values.update(presets[texts["preset"]])
    for name, text in texts.items():
        if name not in known:
            raise unknown_name("option", name, known, where=where)
        if name != "preset":
            values[name] = parse_value(name, text, types[name], where)
            require_positive(name, values[name], where, zero=getattr(config, name) == 0)
    try:
        return config(**values)
    except JogakError as error:
        raise JogakError(error.message, where=where, hint=error.hint) from None


def list_options(config: type[DataclassInstance]) -> tuple[Option, ...]:
    """All options of a `config` in the order of its fields, `preset` last."""
    types = get_type_hints(config)
    options = [Option(field.name, type_name(types[field.name]), _text(field.default)) for field in fields(config)]
    presets = getattr(config, "PRESETS", {})
    if presets:
        options.append(Option("preset", "one of " + ", ".join(presets), "none"))
    return tuple(options)


def _text(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def require_divisible(name: str, value: int, by: str, divisor: int) -> None:
    """Raise when `value` is not a multiple of `divisor`; the names are those of the two options.

    Raises:
        JogakError: it is not.
    """
    if value % divisor:
        raise JogakError(
            f"option {name!r} is {value}, which {by}={divisor} does not divide",
            hint=f"choose {name} as a multiple of {by}",
        )
