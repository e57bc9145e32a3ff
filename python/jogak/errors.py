"""The exceptions that Jogak raises, and the exit code that each one means on the command line.

A user's mistake is a `JogakError`: it carries where, what and what to do next, and is printed without a traceback.
Anything else that escapes is a bug of ours (exit code 3).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_OK = 0
EXIT_USER = 1
EXIT_USAGE = 2
EXIT_INTERNAL = 3
EXIT_INTERRUPTED = 130


class JogakError(Exception):
    """A mistake in the user's input.

    Args:
        message: what happened, one sentence, without a final full stop.
        where: the source location (`file:line`), the option or the value that it is about.
        hint: the next step that would help.
    """

    exit_code = EXIT_USER

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  hint: {self.hint}" if self.hint else text

    def report(self) -> str:
        """The text behind the program's name on the command line."""
        return f"error: {self}"


class UsageError(JogakError):
    """The command line itself is wrong: unknown option, missing argument, contradiction."""

    exit_code = EXIT_USAGE


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is closest to `name`, or None when nothing is close."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return found[0] if found else None


def unknown_name(kind: str, name: str, known: Iterable[str], *, where: str | None = None) -> JogakError:
    """The error for a name that does not exist: it suggests the nearest one, or lists what there is."""
    names = sorted(known)
    close = nearest(name, names)
    hint = f"did you mean {close!r}?" if close else f"known: {', '.join(names) or 'none'}"
    return JogakError(f"unknown {kind} {name!r}", where=where, hint=hint)
