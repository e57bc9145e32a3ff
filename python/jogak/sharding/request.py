"""What can be asked of a value, as text: a sharding, and what propagation may do with it.

`[data, _, model ?] replicated(expert) group(residual) barrier(forward) p1`: every part is optional. One text serves the
command line, TOML files, Python and the IR.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from jogak.errors import JogakError, unknown_name
from jogak.sharding.mesh import Mesh
from jogak.sharding.sharding import DimSpec, SpecPattern

WORDS = ("any", "replicated", "group", "barrier")
_PRIORITY = re.compile(r"p(\d+)")


class Barrier(StrEnum):
    """What passes through a value in propagation."""

    CLOSED = "closed"
    """Neither do its users see how it lies, nor does it see how they want it."""
    FORWARD = "forward"
    """Its users see how it lies, it does not see how they want it."""
    BACKWARD = "backward"
    """It sees how its users want it, they do not see how it lies."""

    @property
    def lets_forward(self) -> bool:
        return self is Barrier.FORWARD

    @property
    def lets_backward(self) -> bool:
        return self is Barrier.BACKWARD


@dataclass(frozen=True)
class Request:
    """What one constraint asks of a value.

    Attributes:
        dims: an entry for each dimension; None where nothing is said of them.
        and_more: whether any number of open dimensions follows (`[data, ...]`).
        somewhere: axes that split some dimension, whichever it is.
        replicated: axes that split no dimension.
        group: name of a group, all values of which lie alike.
        barrier: what passes through the value.
        priority: 0, the default, goes first.
    """

    dims: tuple[DimSpec, ...] | None = None
    and_more: bool = False
    somewhere: tuple[str, ...] = ()
    replicated: tuple[str, ...] = ()
    group: str = ""
    barrier: Barrier | None = None
    priority: int = 0

    @property
    def places(self) -> bool:
        """Whether it says how the value lies, and so replaces what was said before."""
        return self.dims is not None or bool(self.somewhere)

    @staticmethod
    def parse(text: str) -> Request:
        """Read what `str()` writes.

        Raises:
            JogakError: the text is no request.
        """
        dims, and_more, rest = _dims(text)
        if dims is None and not rest.strip():
            raise _unreadable(text)
        lists: dict[str, str] = {}
        priority = 0
        for word, inner in _words(rest, text):
            number = _PRIORITY.fullmatch(word)
            if number is not None and inner is None:
                priority = int(number[1])
            elif word in lists:
                raise JogakError(f"{word!r} stands twice in {text!r}", hint="write it once")
            elif word == "partial":
                raise JogakError(f"{text!r} asks for a partial result", hint="leave out partial(...)")
            elif word in WORDS:
                lists[word] = (inner or "").strip()
            elif not rest.strip() or (dims is None and not lists):
                raise _unreadable(text)
            else:
                raise unknown_name("request", word, WORDS, where=text)
        for word in lists.keys() - {"barrier"}:
            if not lists[word]:
                raise JogakError(f"{word!r} names nothing in {text!r}", hint=f"write {word}(NAME)")
        barrier = _barrier(lists["barrier"], text) if "barrier" in lists else None
        somewhere, replicated = _names(lists.get("any")), _names(lists.get("replicated"))
        request = Request(dims, and_more, somewhere, replicated, lists.get("group", ""), barrier, priority)
        return _consistent(request, text)

    def fits(self, rank: int) -> bool:
        """Whether a value of so many dimensions can be asked this."""
        return self.dims is None or len(self.dims) == rank or (self.and_more and len(self.dims) < rank)

    def spread(self, rank: int) -> tuple[DimSpec, ...]:
        """An entry for each of `rank` dimensions, which must fit."""
        dims = self.dims or ()
        return (*dims, *(DimSpec(open=True) for _ in range(rank - len(dims))))

    def axes(self) -> tuple[str, ...]:
        """Every axis and sub-axis that it names."""
        return (*(axis for dim in self.dims or () for axis in dim.axes), *self.somewhere, *self.replicated)

    def on(self, mesh: Mesh) -> Request:
        """The same by the axes of `mesh`, where axes that were named may be taken apart."""
        dims = self.dims and tuple(DimSpec(mesh.expand(dim.axes), dim.open) for dim in self.dims)
        return replace(self, dims=dims, somewhere=mesh.expand(self.somewhere), replicated=mesh.expand(self.replicated))

    def check(self, mesh: Mesh, where: str | None = None) -> None:
        """Raise when an axis is unknown to the mesh or used twice."""
        SpecPattern((*(self.dims or ()), *(DimSpec((axis,)) for axis in self.somewhere))).check(mesh, where)
        mesh.check(self.replicated, where)

    def __str__(self) -> str:
        dims = [*map(str, self.dims or ()), *(["..."] if self.and_more else [])]
        parts = [] if self.dims is None else [f"[{', '.join(dims)}]"]
        parts += [f"any({', '.join(self.somewhere)})"] if self.somewhere else []
        parts += [f"replicated({', '.join(self.replicated)})"] if self.replicated else []
        parts += [f"group({self.group})"] if self.group else []
        if self.barrier is not None:
            parts.append("barrier" if self.barrier is Barrier.CLOSED else f"barrier({self.barrier})")
        parts += [f"p{self.priority}"] if self.priority else []
        return " ".join(parts)


def _dims(text: str) -> tuple[tuple[DimSpec, ...] | None, bool, str]:
    """The list of dimensions at the beginning, whether more follow, and the rest of the text."""
    stripped = text.strip()
    if not stripped.startswith("["):
        return None, False, stripped
    end = stripped.find("]") + 1
    if not end:
        raise _unreadable(text)
    inner = stripped[1 : end - 1].strip()
    and_more = inner.endswith("...")
    if and_more:
        inner = inner.removesuffix("...").rstrip().removesuffix(",")
    try:
        return SpecPattern.parse(f"[{inner}]").dims, and_more, stripped[end:]
    except JogakError as error:
        raise JogakError(error.message, where=text, hint=error.hint) from None


def _unreadable(text: str) -> JogakError:
    hint = f"write one entry a dimension, [data, _, model], or one of {', '.join(WORDS)}"
    return JogakError(f"cannot read {text!r} as a sharding", hint=hint)


def _words(rest: str, text: str) -> Iterator[tuple[str, str | None]]:
    """The words behind the dimensions, each with what stands in its parentheses, which may hold parentheses."""
    at = 0
    while at < len(rest):
        if rest[at].isspace():
            at += 1
            continue
        match = re.compile(r"\w+").match(rest, at)
        if match is None:
            raise _unreadable(text)
        at = match.end()
        if rest[at : at + 1] != "(":
            yield match[0], None
            continue
        begin, depth = at + 1, 0
        while at < len(rest):
            depth += (rest[at] == "(") - (rest[at] == ")")
            at += 1
            if depth == 0:
                break
        if depth:
            raise JogakError(f"a parenthesis is open in {text!r}", hint="close it")
        yield match[0], rest[begin : at - 1]


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(re.split(r"[\s,]+", text)) if text else ()


def _barrier(text: str, where: str) -> Barrier:
    try:
        return Barrier(text or Barrier.CLOSED)
    except ValueError:
        raise unknown_name("direction of a barrier", text, [str(each) for each in Barrier], where=where) from None


def _consistent(request: Request, text: str) -> Request:
    split = {axis for dim in request.dims or () for axis in dim.axes} | set(request.somewhere)
    both = sorted(split & set(request.replicated))
    if both:
        raise JogakError(f"{text!r} splits the value by {both[0]!r} and forbids it", hint=f"drop replicated({both[0]})")
    if request.dims is not None and request.somewhere:
        raise JogakError(f"{text!r} names dimensions and any(...)", hint="write the axis at a dimension, or any(...)")
    return request
