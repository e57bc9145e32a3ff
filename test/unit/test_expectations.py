"""Matching of diagnostics with `expected-*` comments, in both directions."""

from __future__ import annotations

import pytest

from jogak.ir.diagnostics import Diagnostic, Severity, SourceLocation
from jogak.testing.expectations import mismatches


def told(message: str, line: int, severity: Severity = Severity.ERROR, file: str = "f.mlir", notes=()) -> Diagnostic:
    return Diagnostic(severity, message, SourceLocation(file, line, 1), tuple(notes))


@pytest.mark.parametrize(
    ("text", "diagnostics"),
    [
        ("", []),
        ("op // expected-error {{bad op}}", [told("a bad op here", 1)]),
        ("// expected-error @+1 {{bad}}\nop", [told("bad", 2)]),
        ("op\n// expected-error @-1 {{bad}}", [told("bad", 1)]),
        ("// expected-error @below {{x}}\n// expected-error @below {{y}}\nop", [told("x", 3), told("y", 3)]),
        ("op\n// expected-error @above {{x}}\n// expected-error @above {{y}}", [told("x", 1), told("y", 1)]),
        (
            "op // expected-remark {{r}} expected-warning {{w}}",
            [told("r", 1, Severity.REMARK), told("w", 1, Severity.WARNING)],
        ),
        ("// expected-error @unknown {{far}}", [told("far away", 7, file="model.py")]),
        ("// expected-error @unknown {{none}}", [Diagnostic(Severity.ERROR, "none")]),
        ("op // expected-error-re {{size {{[0-9]+}} (of}}", [told("size 12 (of 3)", 1)]),
        ("op // expected-error {{type {i32}}}", [told("type {i32}", 1)]),
        (
            "op // expected-error {{e}}\n// expected-note @-1 {{n}}",
            [told("e", 1, notes=[told("n", 1, Severity.NOTE), told("see current operation: op", 1, Severity.NOTE)])],
        ),
    ],
)
def test_match(text, diagnostics):
    assert mismatches(text, diagnostics, "f.mlir") == []


@pytest.mark.parametrize(
    ("text", "diagnostics", "problems"),
    [
        ("op // expected-error {{bad}}", [], ["f.mlir:1: expected error 'bad' was not produced at f.mlir:1"]),
        ("op", [told("bad", 1)], ["f.mlir:1: unexpected error: bad"]),
        ("op", [told("hm", 1, Severity.REMARK)], ["f.mlir:1: unexpected remark: hm"]),
        ("op", [Diagnostic(Severity.ERROR, "bad")], ["unknown location: unexpected error: bad"]),
        (
            "op // expected-error {{bad}}",
            [told("bad", 2)],
            ["f.mlir:2: unexpected error: bad", "f.mlir:1: expected error 'bad' was not produced at f.mlir:1"],
        ),
        (
            "op // expected-warning {{bad}}",
            [told("bad", 1)],
            ["f.mlir:1: unexpected error: bad", "f.mlir:1: expected warning 'bad' was not produced at f.mlir:1"],
        ),
        (
            "op // expected-error {{e}}",
            [told("e", 1, notes=[told("n", 1, Severity.NOTE)])],
            ["f.mlir:1: unexpected note: n"],
        ),
        (
            "op // expected-error {{a.c}}",
            [told("abc", 1)],
            ["f.mlir:1: unexpected error: abc", "f.mlir:1: expected error 'a.c' was not produced at f.mlir:1"],
        ),
    ],
)
def test_mismatch(text, diagnostics, problems):
    assert mismatches(text, diagnostics, "f.mlir") == problems
