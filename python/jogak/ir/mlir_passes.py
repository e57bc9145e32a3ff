"""What is known about MLIR's registered C++ passes without asking MLIR: names, the op each runs on, options.

MLIR lists its passes to nobody but its own command-line tools, and aborts the process when a pipeline is nested
wrongly. The table `mlir_passes.json` was found by probing (`python -m jogak.testing.probe_mlir_passes` writes it
again); a test checks that it is still true for the installed MLIR.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jogak.errors import JogakError, unknown_name
from jogak.ir.pipeline import PassCall

DATA_FILE = "mlir_passes.json"


@dataclass(frozen=True)
class MlirOption:
    """An option; `default` is None where MLIR does not tell it (lists without elements)."""

    default: str | None
    about: str


@dataclass(frozen=True)
class MlirPass:
    """A registered pass or pass pipeline of MLIR.

    Attributes:
        name: as pipelines write it.
        anchor: the only op that it runs on; None when it runs on any.
        about: one line, where the tools of the wheel tell it.
        options: by name.
    """

    name: str
    anchor: str | None
    about: str
    options: Mapping[str, MlirOption]


@cache
def registered() -> Mapping[str, MlirPass]:
    """Every C++ pass and pipeline of the installed MLIR by name."""
    table = json.loads(files("jogak.ir").joinpath(DATA_FILE).read_text(encoding="utf-8"))
    return {name: _read(name, entry) for name, entry in table.items()}


def _read(name: str, entry: Mapping[str, Any]) -> MlirPass:
    options = {key: MlirOption(default, about) for key, (default, about) in entry["options"].items()}
    return MlirPass(name, entry["anchor"], entry["about"], options)


def check(mlir_pass: MlirPass, anchors: tuple[str, ...], call: PassCall) -> None:
    """Refuse what MLIR would answer by aborting or by an unclear message.

    Args:
        mlir_pass: what is known about the pass.
        anchors: the ops that the pass is nested in, outermost first.
        call: the pass as the pipeline has it.

    Raises:
        JogakError: the pass cannot run on the innermost anchor, or the value of an option is wrong.
    """
    where = f"pass {call.name!r}"
    if mlir_pass.anchor not in (None, anchors[-1]):
        message = f"it runs only on {mlir_pass.anchor!r}, not on {anchors[-1]!r}"
        raise JogakError(message, where=where, hint=f"write {_renested(mlir_pass.anchor, anchors, call)}")
    for key, value in call.options:
        if key in mlir_pass.options:
            _check_value(mlir_pass.options[key].default, value, f"{where}, option {key!r}")


def _renested(anchor: str | None, anchors: tuple[str, ...], call: PassCall) -> str:
    """The same call inside the anchor that it needs."""
    outermost = anchors[0]
    return f"{outermost}({call})" if anchor == outermost else f"{outermost}({anchor}({call}))"


def unknown_option(mlir_pass: MlirPass, name: str) -> JogakError:
    """The error for an option that MLIR does not know."""
    return unknown_name("option", name, mlir_pass.options, where=f"pass {mlir_pass.name!r}")


def _check_value(default: str | None, value: str | None, where: str) -> None:
    """The type of an option is known from its default where that is a truth value or an integer."""
    if default in ("true", "false") and value not in (None, "true", "false", "1", "0"):
        raise JogakError(f"cannot read {value!r} as true or false", where=where, hint=f"the default is {default}")
    if _is_integer(default) and not _is_integer(value):
        raise JogakError(f"cannot read {value or ''!r} as an integer", where=where, hint=f"the default is {default}")


def _is_integer(text: str | None) -> bool:
    return text is not None and text.removeprefix("-").isdigit()
