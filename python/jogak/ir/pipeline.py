"""Textual pass pipelines as plain data.

The language is MLIR's: `builtin.module(canonicalize,func.func(cse),jogak-partition{mesh=2x4})`. A pipeline is read into
a tree, so that it can be checked and split between C++ and Python passes before anything runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from jogak.errors import JogakError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.$-]*")
_CLOSING = {"{": "}", "[": "]", "(": ")"}


@dataclass(frozen=True)
class PassCall:
    """One pass by name, with its options as they were written; an option without `=` has the value None."""

    name: str
    options: tuple[tuple[str, str | None], ...] = ()

    def __str__(self) -> str:
        if not self.options:
            return self.name
        written = " ".join(key if value is None else f"{key}={value}" for key, value in self.options)
        return f"{self.name}{{{written}}}"


@dataclass(frozen=True)
class Nest:
    """Passes that run on every op of the kind `anchor` (or on any op: `any`) below the enclosing one."""

    anchor: str
    elements: tuple[PassCall | Nest, ...] = ()

    def __str__(self) -> str:
        return f"{self.anchor}({','.join(map(str, self.elements))})"

    def leaves(self, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], PassCall]]:
        """Every pass in order, each with the anchors around it, outermost first."""
        anchors = (*above, self.anchor)
        for element in self.elements:
            if isinstance(element, Nest):
                yield from element.leaves(anchors)
            else:
                yield anchors, element


def parse_pipeline(text: str) -> Nest:
    """Read a pipeline. A list of passes without an anchor around it is put inside `builtin.module(...)`.

    Raises:
        JogakError: the text is malformed; the error shows the column.
    """
    reader = _Reader(text)
    elements = reader.elements(closing=None)
    if len(elements) == 1 and isinstance(elements[0], Nest) and elements[0].anchor == "builtin.module":
        return elements[0]
    return Nest("builtin.module", elements)


@dataclass
class _Reader:
    """A cursor over the text of a pipeline."""

    text: str
    at: int = 0

    def elements(self, closing: str | None) -> tuple[PassCall | Nest, ...]:
        """The elements up to `closing`, which is consumed, or up to the end of the text."""
        found: list[PassCall | Nest] = []
        while not self._ends(closing):
            if found and not self._take(","):
                self._fail(f"expected ',' {'or the end' if closing is None else f'or {closing!r}'}")
            found.append(self._element())
        return tuple(found)

    def _element(self) -> PassCall | Nest:
        self._skip_space()
        name = _NAME.match(self.text, self.at)
        if name is None:
            self._fail("expected the name of a pass")
        self.at = name.end()
        if self._take("("):
            return Nest(name[0], self.elements(")"))
        if self._take("{"):
            return PassCall(name[0], self._options())
        return PassCall(name[0])

    def _options(self) -> tuple[tuple[str, str | None], ...]:
        start, self.at = self.at, self._matching(self.at - 1)
        body = self.text[start : self.at]
        self.at += 1
        return tuple(_option(word) for word in _words(body))

    def _matching(self, opening: int) -> int:
        """Where the bracket at `opening` is closed."""
        expected: list[str] = []
        quote = ""
        for at in range(opening, len(self.text)):
            char = self.text[at]
            if quote:
                quote = "" if char == quote else quote
            elif char in "\"'":
                quote = char
            elif char in _CLOSING:
                expected.append(_CLOSING[char])
            elif expected and char == expected[-1]:
                expected.pop()
                if not expected:
                    return at
        self.at = opening
        self._fail(f"{self.text[opening]!r} is never closed")

    def _ends(self, closing: str | None) -> bool:
        self._skip_space()
        if closing is not None:
            return self._take(closing)
        return self.at == len(self.text)

    def _take(self, char: str) -> bool:
        self._skip_space()
        found = self.text.startswith(char, self.at)
        self.at += len(char) if found else 0
        return found

    def _skip_space(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def _fail(self, message: str) -> NoReturn:
        raise JogakError(
            f"{message}, but found {self.text[self.at : self.at + 1] or 'the end'!r}",
            where=f"pass pipeline, column {self.at + 1} of {self.text!r}",
            hint="write for example builtin.module(canonicalize,func.func(cse),jogak-partition{mesh=2x4})",
        )


def _option(word: str) -> tuple[str, str | None]:
    key, equals, value = word.partition("=")
    return key, value if equals else None


def _words(body: str) -> Iterator[str]:
    """Split at blanks that are inside neither brackets nor quotes."""
    word, depth, quote = "", 0, ""
    for char in body:
        if char.isspace() and not depth and not quote:
            if word:
                yield word
            word = ""
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        else:
            depth += (char in _CLOSING) - (char in _CLOSING.values())
        word += char
    if word:
        yield word
