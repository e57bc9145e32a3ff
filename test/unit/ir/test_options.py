"""Options of Python passes: from text to typed fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from jogak.errors import JogakError
from jogak.ir.options import Option, build_pass, describe_options, format_value
from jogak.ir.pipeline import parse_pipeline
from jogak.plugin import Pass


@dataclass(frozen=True)
class Every(Pass):
    """One option of every type."""

    name: ClassVar[str] = "test-every"
    mesh: str
    fold_views: bool = False
    rounds: int = 3
    ratio: float = 0.5
    axes: tuple[str, ...] = ("data",)


@dataclass(frozen=True)
class Unsupported(Pass):
    name: ClassVar[str] = "test-unsupported"
    table: dict[str, int] | None = None


def build(text: str, kind: type[Pass] = Every) -> Pass:
    (call,) = parse_pipeline(text).elements
    return build_pass(kind, call)


def test_typed_values():
    made = build("test-every{mesh=2x4 fold-views=true rounds=-1 ratio=1e-3 axes={data,model}}")
    assert made == Every("2x4", fold_views=True, rounds=-1, ratio=1e-3, axes=("data", "model"))


def test_defaults_flags_and_quotes():
    assert build('test-every{mesh="data=2, model=4" fold-views axes=}') == Every(
        "data=2, model=4", fold_views=True, axes=()
    )


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ("mesh=2 fold-view=true", "unknown option 'fold-view'", "did you mean 'fold-views'?"),
        ("mesh=2 fold_views=true", "unknown option 'fold_views'", "did you mean 'fold-views'?"),
        ("mesh=2 mesh=4", "option 'mesh' is given twice", "keep one"),
        ("rounds=3", "option 'mesh' is missing", "mesh=..."),
        ("mesh=2 rounds=few", "cannot read 'few' as an integer", "give an integer"),
        ("mesh=2 ratio=half", "cannot read 'half' as a number", "give a number"),
        ("mesh=2 fold-views=maybe", "cannot read 'maybe' as true or false", "give true or false"),
    ],
)
def test_mistakes(options, message, hint):
    with pytest.raises(JogakError) as caught:
        build(f"test-every{{{options}}}")
    assert message in str(caught.value)
    assert hint in str(caught.value)
    assert "pass 'test-every'" in str(caught.value)


def test_field_of_another_type_is_refused():
    with pytest.raises(JogakError, match="an option is one of bool, int, float, str"):
        build("test-unsupported{table=1}", Unsupported)


def test_description():
    assert describe_options(Every) == [
        Option("mesh", "str", None),
        Option("fold-views", "bool", "false"),
        Option("rounds", "int", "3"),
        Option("ratio", "float", "0.5"),
        Option("axes", "tuple[str, ...]", "data"),
    ]


def test_values_are_written_as_they_are_read():
    assert format_value(True) == "true"
    assert format_value(("a", "b")) == "a,b"
    assert format_value("two words") == '"two words"'
