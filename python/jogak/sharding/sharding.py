"""How one value lies on the mesh: the axes that split each dimension, and those on which it is a partial result.

Written `[8@data, 512, 768@model]` for people, `#jogak` free text `[data, _, model]` in constraints and in the
`jogak.sharding` attribute. A partial value is written `[_, _] partial(model: add)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from jogak.errors import JogakError
from jogak.sharding.mesh import AXIS, Mesh
from jogak.sharding.padding import local_size, splits


class Combiner(StrEnum):
    """The operation that completes a partial result, by the name of `shard`'s reduction kind."""

    ADD = "sum"
    MUL = "product"
    MAX = "max"
    MIN = "min"
    AND = "bitwise_and"
    OR = "bitwise_or"


@dataclass(frozen=True)
class Sharding:
    """Placement of a value on a mesh.

    Attributes:
        dims: for each dimension the mesh axes that split it, major to minor.
        partial: mesh axes on which every device holds only a summand (or factor, maximum, …), sorted by axis name.
    """

    dims: tuple[tuple[str, ...], ...]
    partial: tuple[tuple[str, Combiner], ...] = ()

    @staticmethod
    def replicated(rank: int) -> Sharding:
        return Sharding(((),) * rank)

    @property
    def rank(self) -> int:
        return len(self.dims)

    @property
    def is_replicated(self) -> bool:
        return not self.partial and not any(self.dims)

    @property
    def is_partial(self) -> bool:
        return bool(self.partial)

    def axes(self) -> Iterator[str]:
        """Every axis that splits a dimension, in order of the dimensions."""
        for dim in self.dims:
            yield from dim

    def complete(self) -> Sharding:
        """The same split with every partial result combined."""
        return Sharding(self.dims) if self.partial else self

    def with_partial(self, partial: Mapping[str, Combiner]) -> Sharding:
        return Sharding(self.dims, tuple(sorted(partial.items())))

    def on(self, mesh: Mesh) -> Sharding:
        """The same placement by the axes of `mesh`, where axes that were named may be taken apart."""
        dims = tuple(mesh.expand(axes) for axes in self.dims)
        partial = {part: kind for axis, kind in self.partial for part in mesh.expand([axis])}
        return Sharding(dims).with_partial(partial)

    def told(self, mesh: Mesh) -> Sharding:
        """The same placement by the axes that the user named, as far as these are whole."""
        dims = tuple(mesh.told(axes) for axes in self.dims)
        kinds = dict(self.partial)
        partial: dict[str, Combiner] = {}
        for kind in dict.fromkeys(kinds.values()):
            ordered = sorted((axis for axis in kinds if kinds[axis] is kind), key=mesh.index)
            partial |= dict.fromkeys(mesh.told(ordered), kind)
        return Sharding(dims).with_partial(partial)

    def shards(self, mesh: Mesh) -> int:
        """Into how many different pieces the value is split."""
        return mesh.size(self.axes())

    def local_shape(self, shape: Sequence[int], mesh: Mesh) -> tuple[int, ...]:
        """The shape on one device, with the padding of dimensions that the mesh does not divide.

        Raises:
            JogakError: a dimension has fewer elements than the axes that split it make pieces.
        """
        local = []
        for number, (size, axes) in enumerate(zip(shape, self.dims, strict=True)):
            parts = mesh.size(axes)
            if not splits(size, axes, mesh):
                raise JogakError(
                    f"dimension {number} of size {size} cannot be split {parts} ways by {'×'.join(axes)}",
                    hint="choose a smaller axis, or leave the dimension unsharded",
                )
            local.append(local_size(size, parts))
        return tuple(local)

    def padded_shape(self, shape: Sequence[int], mesh: Mesh) -> tuple[int, ...]:
        """The shape of all pieces together: the global shape and the padding behind it."""
        local = self.local_shape(shape, mesh)
        return tuple(size * mesh.size(axes) for size, axes in zip(local, self.dims, strict=True))

    def check(self, mesh: Mesh, where: str | None = None) -> None:
        """Raise when an axis is unknown to the mesh or used twice."""
        used = [*self.axes(), *(axis for axis, _ in self.partial)]
        mesh.check(used, where)
        for axis in used:
            if used.count(axis) > 1:
                raise JogakError(
                    f"mesh axis {axis!r} is used twice in {self}",
                    where=where,
                    hint="an axis can split only one dimension",
                )

    def __str__(self) -> str:
        text = "[" + ", ".join(" ".join(dim) if dim else "_" for dim in self.dims) + "]"
        if self.partial:
            text += " partial(" + ", ".join(f"{axis}: {kind}" for axis, kind in self.partial) + ")"
        return text

    def describe(self, shape: Sequence[int], element: str) -> str:
        """`f32[8@data, 512, 768@model]`: the global shape with the axes of each dimension."""
        dims = ", ".join(
            str(size) + "".join(f"@{axis}" for axis in axes) for size, axes in zip(shape, self.dims, strict=True)
        )
        text = f"{element}[{dims}]"
        if self.partial:
            text += " partial(" + ", ".join(axis for axis, _ in self.partial) + ")"
        return text

    @staticmethod
    def parse(text: str) -> Sharding:
        """Read what `str()` writes.

        Raises:
            JogakError: the text is not a sharding, or has an open dimension (those are constraints, not placements).
        """
        pattern = SpecPattern.parse(text)
        if any(dim.open for dim in pattern.dims):
            raise JogakError(f"{text!r} has an open dimension where a full sharding is needed", hint="drop the '?'")
        return Sharding(tuple(dim.axes for dim in pattern.dims), pattern.partial)


@dataclass(frozen=True)
class DimSpec:
    """One dimension of a constraint: the axes it must start with, and whether propagation may add more."""

    axes: tuple[str, ...] = ()
    open: bool = False

    def __str__(self) -> str:
        return " ".join([*self.axes, *(["?"] if self.open else [])]) or "_"


_SPEC = re.compile(
    r"\s*\[(?P<dims>[^\]]*)\]\s*(?:partial\((?P<partial>(?:[^()]|\(\d+\))*)\))?\s*(?:p(?P<priority>\d+))?\s*"
)


@dataclass(frozen=True)
class SpecPattern:
    """A constraint on a value's sharding, as the user writes it.

    `[data, _, model ?]`: dimension 0 is split by `data`, dimension 1 stays whole, dimension 2 is split by `model` and
    may be split further. A closed dimension never gains an axis. `p1` behind it is the priority: 0, the default, goes
    first.
    """

    dims: tuple[DimSpec, ...]
    partial: tuple[tuple[str, Combiner], ...] = ()
    priority: int = field(default=0)

    @property
    def rank(self) -> int:
        return len(self.dims)

    @staticmethod
    def parse(text: str) -> SpecPattern:
        match = _SPEC.fullmatch(text)
        if match is None:
            raise JogakError(
                f"cannot read {text!r} as a sharding", hint="write one entry a dimension: [data, _, model]"
            )
        body = match["dims"].strip()
        dims = tuple(_parse_dim(part, text) for part in body.split(",")) if body else ()
        partial: dict[str, Combiner] = {}
        for part in (match["partial"] or "").split(","):
            if part.strip():
                axis, kind = _parse_partial(part)
                if axis in partial:
                    raise JogakError(f"mesh axis {axis!r} is partial twice in {text!r}", hint="name each axis once")
                try:
                    partial[axis] = Combiner(kind or "sum")
                except ValueError:
                    known = ", ".join(Combiner)
                    raise JogakError(f"unknown combiner {kind!r} in {text!r}", hint=f"known: {known}") from None
        return SpecPattern(dims, tuple(sorted(partial.items())), int(match["priority"] or 0))

    def check(self, mesh: Mesh, where: str | None = None) -> None:
        """Raise when an axis is unknown to the mesh or used twice."""
        Sharding(tuple(dim.axes for dim in self.dims), self.partial).check(mesh, where)

    def __str__(self) -> str:
        text = "[" + ", ".join(str(dim) for dim in self.dims) + "]"
        if self.partial:
            text += " partial(" + ", ".join(f"{axis}: {kind}" for axis, kind in self.partial) + ")"
        return f"{text} p{self.priority}" if self.priority else text


def _parse_partial(text: str) -> tuple[str, str]:
    """`model: sum` or `model:(1)2: sum`; the kind may be left out."""
    match = re.fullmatch(rf"\s*({AXIS})\s*(?::\s*([^:]*?)\s*)?", text)
    if match is None:
        raise JogakError(f"cannot read {text.strip()!r} as a partial axis", hint="write partial(model: sum)")
    return match[1], match[2] or ""


def _parse_dim(part: str, text: str) -> DimSpec:
    words = part.split()
    open_ = bool(words) and words[-1] == "?"
    axes = words[:-1] if open_ else words
    if axes == ["_"]:
        axes = []
    if any(not re.fullmatch(AXIS, axis) for axis in axes) or (not words):
        raise JogakError(
            f"cannot read {part.strip()!r} as a dimension of {text!r}",
            hint="a dimension is '_', axis names, or axis names and '?' for open",
        )
    return DimSpec(tuple(axes), open_)
