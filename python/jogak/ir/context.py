"""MLIR contexts as Jogak uses them, and reading text into one.

One context serves one compilation. It is single-threaded: a Python verifier or pass in a multithreaded context hangs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch_mlir import ir
from torch_mlir._mlir_libs import _torchMlir as _register_torch_mlir  # noqa: F401  (its import registers torch-mlir's passes)
from torch_mlir.dialects import torch as torch_dialect
from torch_mlir.passmanager import PassManager

from jogak.errors import JogakError
from jogak.ir.barrier import define_barrier
from jogak.ir.diagnostics import Diagnostic, Diagnostics, PassFailed, Severity, SourceLocation, source_location

TEXT_BUFFER = "-"
"""The file name that MLIR gives to locations in text that was parsed from memory."""

_LONGEST_MESSAGE = 400

_SEVERITIES = {
    ir.DiagnosticSeverity.ERROR: Severity.ERROR,
    ir.DiagnosticSeverity.WARNING: Severity.WARNING,
    ir.DiagnosticSeverity.REMARK: Severity.REMARK,
    ir.DiagnosticSeverity.NOTE: Severity.NOTE,
}


def new_context(*, allow_unregistered: bool = False) -> ir.Context:
    """A single-threaded context that knows every dialect of the compiler.

    Args:
        allow_unregistered: accept ops of dialects that nobody registered.
    """
    context = ir.Context()
    context.enable_multithreading(False)
    context.allow_unregistered_dialects = allow_unregistered
    torch_dialect.register_dialect(context)
    with context, ir.Location.unknown():
        # torch-mlir registers `tm_tensor` nowhere for Python; a pass that depends on it loads it.
        loader = PassManager.parse("builtin.module(torch-backend-to-linalg-on-tensors-backend-pipeline)")
        loader.run(ir.Module.create().operation)
    define_barrier(context)
    return context


def parse_module(text: str, context: ir.Context, filename: str = TEXT_BUFFER) -> ir.Module:
    """Read and verify a module.

    Args:
        text: MLIR assembly.
        context: the context that will own the module.
        filename: what diagnostics call the text; locations in the module keep MLIR's name for text, `-`.

    Raises:
        PassFailed: the text is not a valid module; its diagnostics carry `filename`, line and column.
    """
    try:
        return ir.Module.parse(text, context)
    except ir.MLIRError as error:
        raise PassFailed([rename_buffer(each, filename) for each in from_mlir_error(error)]) from None


def parse_file(path: Path, context: ir.Context) -> ir.Module:
    """Read and verify the module in a file; its locations name the file.

    Raises:
        JogakError: the file cannot be read.
        PassFailed: its text is not a valid module.
    """
    if not path.is_file():
        raise JogakError("no such file", where=str(path), hint="give the path of an .mlir file")
    try:
        return ir.Module.parseFile(str(path), context)
    except ir.MLIRError as error:
        raise PassFailed(from_mlir_error(error)) from None


def from_mlir_error(error: ir.MLIRError) -> list[Diagnostic]:
    """The diagnostics that MLIR attached to an exception; its bare message where it attached none."""
    found = [from_mlir(each) for each in error.error_diagnostics]
    return found or [Diagnostic(Severity.ERROR, str(error.message))]


def from_mlir(diagnostic: ir.DiagnosticInfo | ir.Diagnostic) -> Diagnostic:
    """A diagnostic of MLIR as ours."""
    notes = tuple(from_mlir(each) for each in diagnostic.notes)
    location = source_location(diagnostic.location)
    return Diagnostic(_SEVERITIES[diagnostic.severity], _shortened(diagnostic.message), location, notes)


def _shortened(message: str) -> str:
    """MLIR quotes whole ops, which can be whole functions: keep what fits on some lines."""
    text = message.strip()
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE].rstrip() + " ..."


def collect_from(context: ir.Context, sink: Diagnostics) -> ir.DiagnosticHandler:
    """Send what MLIR says below the rank of an error to `sink` until the returned handler is detached."""

    def receive(diagnostic: ir.Diagnostic) -> bool:
        sink.items.append(from_mlir(diagnostic))
        return True

    return context.attach_diagnostic_handler(receive)


def rename_buffer(diagnostic: Diagnostic, filename: str) -> Diagnostic:
    """The same diagnostic with MLIR's name for text replaced by the name of the file that the text came from."""
    place = diagnostic.location
    if place.file == TEXT_BUFFER:
        place = SourceLocation(filename, place.line, place.column, place.scope)
    notes: Sequence[Diagnostic] = [rename_buffer(each, filename) for each in diagnostic.notes]
    return Diagnostic(diagnostic.severity, diagnostic.message, place, tuple(notes), diagnostic.hint)
