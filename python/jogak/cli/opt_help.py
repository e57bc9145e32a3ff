"""What `jogak-opt` tells about passes and dialects."""

from __future__ import annotations

import inspect

from torch_mlir import ir

from jogak.errors import JogakError, unknown_name
from jogak.ir import mlir_passes
from jogak.ir.context import new_context
from jogak.ir.options import describe_options
from jogak.plugin import Pass
from jogak.registry import Registry

_PROBE = "jogak_no_such_dialect.op"


def list_passes(registry: Registry) -> str:
    """Every pass with the first line of its description, Python passes first."""
    ours = {name: summary(factory()) for name, factory in sorted(registry.passes().items())}
    theirs = {name: each.about for name, each in sorted(mlir_passes.registered().items())}
    return f"Python passes:\n{_table(ours)}\nMLIR passes:\n{_table(theirs)}"


def _table(rows: dict[str, str]) -> str:
    width = max(map(len, rows), default=0)
    return "".join(f"  {name:<{width}}  {about}".rstrip() + "\n" for name, about in rows.items())


def summary(kind: type[Pass]) -> str:
    """The first line of a pass's docstring."""
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def help_pass(name: str, registry: Registry) -> str:
    """What a pass does, and its options with types and defaults.

    Raises:
        JogakError: there is no such pass.
    """
    if name in registry.passes():
        return _help_python(name, registry.pass_class(name))
    mlir_pass = mlir_passes.registered().get(name)
    if mlir_pass is None:
        raise unknown_name("pass", name, [*registry.passes(), *mlir_passes.registered()])
    return _help_mlir(mlir_pass)


def _help_python(name: str, kind: type[Pass]) -> str:
    lines = [name, "", inspect.getdoc(kind) or "", "", "options:"]
    for option in describe_options(kind):
        default = "required" if option.default is None else f"default {option.default or 'empty'}"
        lines.append(f"  {option.name}: {option.type}, {default}")
    return _with_options(lines)


def _help_mlir(mlir_pass: mlir_passes.MlirPass) -> str:
    anchor = mlir_pass.anchor or "any op"
    lines = [mlir_pass.name, "", mlir_pass.about or "A pass of MLIR.", "", f"runs on: {anchor}", "", "options:"]
    for name, option in mlir_pass.options.items():
        default = f", default {option.default}" if option.default else ""
        lines.append(f"  {name}{default}{': ' if option.about else ''}{option.about}")
    return _with_options(lines)


def _with_options(lines: list[str]) -> str:
    if lines[-1] == "options:":
        lines.append("  none")
    return "\n".join(lines) + "\n"


def show_dialects() -> str:
    """The names of all dialects, one a line."""
    try:
        ir.Module.parse(_PROBE, new_context())
    except ir.MLIRError as error:
        # The bindings have no list of dialects; MLIR prints one when a dialect is unknown.
        notes = [note.message for diagnostic in error.error_diagnostics for note in diagnostic.notes]
        names = notes[0].removeprefix("Available dialects: ").partition(" ;")[0]
        return "".join(f"{name}\n" for name in names.split(", "))
    raise JogakError(f"MLIR accepts the op {_PROBE!r}")
