"""Diagnostics as objects: what a pass has to say, and where in the user's source.

A pass calls `fail` to stop, `warn` and `remark` to tell. The driver collects what is told in the active `Diagnostics`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import NoReturn, TypeAlias

from torch_mlir import ir

from jogak.errors import JogakError


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    REMARK = "remark"
    NOTE = "note"


@dataclass(frozen=True)
class SourceLocation:
    """A place in a source file; `scope` is the module path (`blocks.3.attn`) where the tracer knew it."""

    file: str = ""
    line: int = 0
    column: int = 0
    scope: str = ""

    def __str__(self) -> str:
        if not self.file:
            return self.scope or "<unknown>"
        place = f"{self.file}:{self.line}"
        return f"{place} ({self.scope})" if self.scope else place


_FILE = re.compile(r'"((?:[^"\\]|\\.)*)":(\d+):(\d+)')
_SCOPE = re.compile(r'loc\("((?:[^"\\]|\\.)*)"[()]|^"((?:[^"\\]|\\.)*)"\(')


def source_location(location: ir.Location) -> SourceLocation:
    """The user's place in an MLIR location: the first file location in it, and the name around it."""
    return _read_location(str(location))


@lru_cache(maxsize=65536)
def _read_location(text: str) -> SourceLocation:
    place = _FILE.search(text)
    scope = _SCOPE.search(text)
    name = next((group for group in scope.groups() if group), "") if scope else ""
    if place is None:
        return SourceLocation(scope=name)
    return SourceLocation(place[1], int(place[2]), int(place[3]), name)


@dataclass(frozen=True)
class Diagnostic:
    severity: Severity
    message: str
    location: SourceLocation = field(default_factory=SourceLocation)
    notes: tuple[Diagnostic, ...] = ()
    hint: str | None = None

    def render(self) -> str:
        """The text for a person: one line, its notes and its hint indented below."""
        lines = [f"{self.location}: {self.severity}: {self.message}"]
        lines += [f"  {note.location}: note: {note.message}" for note in self.notes]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class PassFailed(JogakError):
    """A pass could not do its work; `diagnostics` say where and why."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__(
            "\n".join(diagnostic.render() for diagnostic in self.diagnostics) or "the pass pipeline failed"
        )

    def report(self) -> str:
        """The diagnostics, each of which says itself that it is an error."""
        return str(self) if self.diagnostics else super().report()


class DoesNotFit(PassFailed):
    """A pass found no program that fits the memory: less to hold at once would help, as in micro-batches."""


@dataclass
class Diagnostics:
    """Where the active driver collects diagnostics; errors among them are in the `PassFailed` that was raised too."""

    items: list[Diagnostic] = field(default_factory=list)


_active: ContextVar[Diagnostics | None] = ContextVar("jogak_diagnostics", default=None)


@contextmanager
def collect() -> Iterator[Diagnostics]:
    """Collect everything that is told inside the block."""
    sink = Diagnostics()
    token = _active.set(sink)
    try:
        yield sink
    finally:
        _active.reset(token)


Where: TypeAlias = ir.Operation | ir.OpView | ir.Location


def _location(where: Where) -> SourceLocation:
    return source_location(where if isinstance(where, ir.Location) else where.location)


def note(where: Where, message: str) -> Diagnostic:
    """A note to hang on an error, warning or remark."""
    return Diagnostic(Severity.NOTE, message, _location(where))


def _tell(diagnostic: Diagnostic) -> None:
    sink = _active.get()
    if sink is not None:
        sink.items.append(diagnostic)


def warn(where: Where, message: str, *, hint: str | None = None, notes: Sequence[Diagnostic] = ()) -> None:
    _tell(Diagnostic(Severity.WARNING, message, _location(where), tuple(notes), hint))


def remark(where: Where, message: str, *, notes: Sequence[Diagnostic] = ()) -> None:
    _tell(Diagnostic(Severity.REMARK, message, _location(where), tuple(notes)))


def fail(
    where: Where,
    message: str,
    *,
    hint: str | None = None,
    notes: Sequence[Diagnostic] = (),
    error: type[PassFailed] = PassFailed,
) -> NoReturn:
    """Stop the pass with an error at `where`.

    Args:
        error: what is raised.

    Raises:
        PassFailed: always.
    """
    raise error([Diagnostic(Severity.ERROR, message, _location(where), tuple(notes), hint)])
