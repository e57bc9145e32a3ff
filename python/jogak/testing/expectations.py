"""`expected-error @+1 {{...}}` comments: reading them, and matching them with the diagnostics that came.

The notation and the rules are those of MLIR's `--verify-diagnostics`: a designator names its line by an offset, by
`@above` or `@below` (the nearest line without a designator), or by `@unknown` for a diagnostic that has no place in the
file. Its text must be part of the message; with `-re`, what stands between inner double braces is a regular expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jogak.ir.diagnostics import Diagnostic, Severity

_DESIGNATOR = re.compile(
    r"expected-(?P<severity>error|note|remark|warning)(?P<regex>-re)?\s*"
    r"(?:@(?P<at>[+-]\d+|above|below|unknown))?\s*\{\{(?P<text>.*?)\}\}(?=\s*$|\s*expected-)"
)
_OP_NOTE = "see current operation"
_REGEX_PIECE = re.compile(r"\{\{(.*?)\}\}")


@dataclass(frozen=True)
class Expectation:
    """One designator.

    Attributes:
        severity: of the diagnostic that must come.
        pattern: what its message must contain.
        line: where it must point; None for no place in the file.
        written_at: the line of the designator itself.
        text: the pattern as written.
    """

    severity: Severity
    pattern: re.Pattern[str]
    line: int | None
    written_at: int
    text: str

    def matches(self, diagnostic: Diagnostic, line: int | None) -> bool:
        same_place = diagnostic.severity == self.severity and line == self.line
        return same_place and self.pattern.search(diagnostic.message) is not None


def read_expectations(text: str) -> list[Expectation]:
    """All designators in a text; lines count from 1."""
    lines = text.splitlines()
    plain = [number for number, line in enumerate(lines, 1) if not _DESIGNATOR.search(line)]
    return [
        _expectation(match, number, plain)
        for number, line in enumerate(lines, 1)
        for match in _DESIGNATOR.finditer(line)
    ]


def _expectation(match: re.Match[str], number: int, plain: Sequence[int]) -> Expectation:
    pattern = _piecewise(match["text"]) if match["regex"] else re.escape(match["text"])
    line = _line(match["at"], number, plain)
    return Expectation(Severity(match["severity"]), re.compile(pattern), line, number, match["text"])


def _piecewise(text: str) -> str:
    parts = _REGEX_PIECE.split(text)
    return "".join(part if inside % 2 else re.escape(part) for inside, part in enumerate(parts))


def _line(at: str | None, number: int, plain: Sequence[int]) -> int | None:
    match at:
        case None:
            return number
        case "unknown":
            return None
        case "above":
            return max((line for line in plain if line < number), default=0)
        case "below":
            return min((line for line in plain if line > number), default=0)
        case offset:
            return number + int(offset)


def mismatches(text: str, diagnostics: Iterable[Diagnostic], file: str) -> list[str]:
    """What is wrong between the designators in a text and the diagnostics that came, one line each; empty for a match.

    Args:
        text: the text with the designators.
        diagnostics: everything that was told; notes are matched like diagnostics of their own.
        file: the name that locations in the text carry; any other place counts as unknown.
    """
    expected = read_expectations(text)
    met: set[int] = set()
    wrong = []
    for diagnostic in _with_notes(diagnostics):
        line = diagnostic.location.line if diagnostic.location.file == file and diagnostic.location.line else None
        found = [number for number, each in enumerate(expected) if each.matches(diagnostic, line)]
        met.update(found)
        if not found:
            place = f"{file}:{line}" if line else "unknown location"
            wrong.append(f"{place}: unexpected {diagnostic.severity}: {diagnostic.message.splitlines()[0]}")
    for number, each in enumerate(expected):
        if number not in met:
            place = f"{file}:{each.line}" if each.line else "unknown location"
            said = f"expected {each.severity} {each.text!r}"
            wrong.append(f"{file}:{each.written_at}: {said} was not produced at {place}")
    return wrong


def _with_notes(diagnostics: Iterable[Diagnostic]) -> Iterable[Diagnostic]:
    """Diagnostics and notes in one row, without the note that quotes the op: `mlir-opt` turns it off for this check."""
    for diagnostic in diagnostics:
        yield diagnostic
        yield from (note for note in diagnostic.notes if not note.message.startswith(_OP_NOTE))
