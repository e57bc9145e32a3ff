"""The device mesh: named axes with sizes, in major-to-minor order of the device number.

Where one axis has to cover two dimensions it is taken apart into sub-axes, named as in Shardy (openxla/shardy,
docs/sharding_representation.md): `x:(2)4` are the 4 parts of `x` behind a factor of 2. A mesh with such axes has the
same devices under the same numbers, and everything that works on axes works on them; `whole` and `told` lead back to
the axes that the user named.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import Any

from jogak.errors import JogakError, unknown_name

AXIS = r"[A-Za-z][A-Za-z0-9_]*(?::\(\d+\)\d+)?"
"""What the name of an axis or a sub-axis looks like."""
_AXIS = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_]*)(?::\((?P<before>\d+)\)(?P<size>\d+))?")


@dataclass(frozen=True)
class Part:
    """A contiguous part of an axis.

    Attributes:
        axis: name of the whole axis.
        before: how many pieces the parts in front of it make.
        size: how many it makes; 0 for all the rest, when the name is that of a whole axis.
    """

    axis: str
    before: int = 1
    size: int = 0

    @staticmethod
    def parse(name: str) -> Part | None:
        """Read `x` or `x:(2)4`; None when it is neither."""
        match = _AXIS.fullmatch(name)
        if match is None:
            return None
        return Part(match["name"], int(match["before"] or 1), int(match["size"] or 0))

    def __str__(self) -> str:
        return f"{self.axis}:({self.before}){self.size}" if self.size else self.axis


@dataclass(frozen=True)
class Mesh:
    """Named axes of devices. Device numbers count the last axis fastest, as `shard.grid` does.

    Raises:
        JogakError: an axis is named twice, has no valid name, or a size is not positive; or sub-axes do not follow each
            other.
    """

    axes: tuple[str, ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.shape):
            raise JogakError(f"the mesh has {len(self.axes)} axis names but {len(self.shape)} sizes")
        for axis, size in zip(self.axes, self.shape, strict=True):
            if Part.parse(axis) is None:
                raise JogakError(f"{axis!r} is not a valid mesh axis name", hint="use letters, digits and '_'")
            if self.axes.count(axis) > 1:
                raise JogakError(f"mesh axis {axis!r} is named twice", hint="every axis needs a name of its own")
            if size < 1:
                raise JogakError(f"mesh axis {axis!r} has size {size}", hint="a size is a positive integer")
        self._check_parts()

    def _check_parts(self) -> None:
        """Sub-axes of one axis lie side by side, major to minor, and leave nothing out between them."""
        last, covered = "", 1
        seen: set[str] = set()
        for part, size in zip(self._parts, self.shape, strict=True):
            expected = covered if part.axis == last else 1
            again = part.axis in seen and part.axis != last
            if part.size and (again or part.before != expected or part.size != size):
                raise JogakError(
                    f"sub-axis {str(part)!r} of size {size} does not follow what is in front of it",
                    hint=f"expected {part.axis}:({expected}){size}, major to minor and side by side",
                )
            if not part.size and part.axis in seen:
                raise JogakError(f"mesh axis {part.axis!r} is named twice", hint="name it, or its sub-axes")
            last, covered = part.axis, expected * size
            seen.add(part.axis)

    @staticmethod
    def parse(text: str) -> Mesh:
        """Read `data=2,model=4`; the forms `2x4` and `8` name their axes themselves."""
        if re.fullmatch(r"\d+(x\d+)*", text):
            shape = tuple(int(size) for size in text.split("x"))
            names = {1: ("data",), 2: ("data", "model")}.get(len(shape), tuple(f"axis{i}" for i in range(len(shape))))
            return Mesh(names, shape)
        axes: list[str] = []
        sizes: list[int] = []
        for part in text.split(","):
            name, _, size = part.strip().partition("=")
            if not size.strip().isdigit():
                raise JogakError(
                    f"cannot read {part.strip()!r} as a mesh axis", where=f"mesh {text!r}", hint="write data=2,model=4"
                )
            axes.append(name.strip())
            sizes.append(int(size))
        return Mesh(tuple(axes), tuple(sizes))

    @staticmethod
    def from_json(entry: Mapping[str, Any]) -> Mesh:
        """Read what `to_json` gives, from a manifest."""
        mesh = Mesh(tuple(entry["axes"]), tuple(entry["shape"]))
        cuts = {axis: [prod(sizes[:n]) for n in range(1, len(sizes))] for axis, sizes in entry.get("parts", {}).items()}
        return mesh.cut(cuts)

    def to_json(self) -> dict[str, Any]:
        """The axes that the user named, and in `parts` the sizes of the sub-axes of those that are taken apart."""
        whole = self.whole
        parts = {axis: [self.sizes[part] for part in self.parts(axis)] for axis in whole.axes}
        apart = {axis: sizes for axis, sizes in parts.items() if len(sizes) > 1}
        entry = {"axes": list(whole.axes), "shape": list(whole.shape), "devices": self.devices}
        return {**entry, "parts": apart} if apart else entry

    @cached_property
    def _parts(self) -> tuple[Part, ...]:
        return tuple(Part.parse(axis) or Part(axis) for axis in self.axes)

    @cached_property
    def whole(self) -> Mesh:
        """The same devices by the axes that the user named."""
        sizes: dict[str, int] = {}
        for part, size in zip(self._parts, self.shape, strict=True):
            sizes[part.axis] = sizes.get(part.axis, 1) * size
        return Mesh(tuple(sizes), tuple(sizes.values()))

    def parts(self, axis: str) -> tuple[str, ...]:
        """The axes of this mesh that a whole axis consists of, major to minor; () for an unknown one."""
        return tuple(name for name, part in zip(self.axes, self._parts, strict=True) if part.axis == axis)

    def expand(self, axes: Iterable[str]) -> tuple[str, ...]:
        """The axes of this mesh for names of whole axes and of sub-axes.

        Names that it does not know stay as they are, for `check` to complain of.
        """
        return tuple(part for axis in axes for part in self._expanded(axis))

    def _expanded(self, axis: str) -> tuple[str, ...]:
        if axis in self.sizes:
            return (axis,)
        wanted = Part.parse(axis)
        parts = self.parts(wanted.axis) if wanted else ()
        if wanted is None or not wanted.size:
            return parts or (axis,)
        covered, found = 1, []
        for part in parts:
            if wanted.before <= covered < wanted.before * wanted.size:
                found.append(part)
            covered *= self.sizes[part]
        return tuple(found) if found and Part(wanted.axis, *self._span(found)) == wanted else (axis,)

    def _span(self, parts: Sequence[str]) -> tuple[int, int]:
        """What lies before contiguous sub-axes, and their size together."""
        first = self._parts[self.index(parts[0])]
        return first.before, self.size(parts)

    def told(self, axes: Iterable[str]) -> tuple[str, ...]:
        """Axes of this mesh as people know them: all sub-axes of an axis, side by side in order, are the axis."""
        left = list(axes)
        found = []
        while left:
            part = Part.parse(left[0])
            parts = self.parts(part.axis) if part else ()
            if parts and tuple(left[: len(parts)]) == parts and part:
                found.append(part.axis)
                del left[: len(parts)]
            else:
                found.append(left.pop(0))
        return tuple(found)

    def cuts(self, axis: str) -> tuple[int, ...]:
        """Where a whole axis is cut: how many pieces the sub-axes in front of each cut make."""
        return tuple(self._parts[self.index(part)].before for part in self.parts(axis)[1:])

    def can_cut(self, axis: str, at: int) -> bool:
        """Whether a whole axis can be cut there, too."""
        bounds = sorted({1, *self.cuts(axis), at, self.whole.sizes[axis]})
        return all(after % before == 0 for before, after in pairwise(bounds))

    def cut(self, cuts: Mapping[str, Collection[int]]) -> Mesh:
        """The same devices with axes taken apart further.

        Args:
            cuts: whole axis to how many pieces the sub-axes in front of each new cut make.

        Raises:
            JogakError: the pieces of one cut are not pieces of another's.
        """
        axes: list[str] = []
        shape: list[int] = []
        for axis, size in self.whole.sizes.items():
            bounds = sorted({1, *self.cuts(axis), *cuts.get(axis, ()), size} - {0})
            for before, after in pairwise(bounds) if size > 1 else [(1, 1)]:
                if after % before or size % after:
                    raise JogakError(
                        f"mesh axis {axis!r} of size {size} cannot be cut at both {before} and {after}",
                        hint="the pieces of a sub-axis are cut further, so each number divides the next",
                    )
                axes.append(str(Part(axis, before, after // before)) if len(bounds) > 2 else axis)
                shape.append(after // before)
        return Mesh(tuple(axes), tuple(shape))

    def cut_for(self, axes: Iterable[str]) -> Mesh:
        """This mesh, taken apart as far as sub-axes among these names need it and sizes allow it."""
        mesh = self
        for part in map(Part.parse, axes):
            total = self.whole.sizes.get(part.axis, 0) if part and part.size else 0
            if part is None or not total or total % (part.before * part.size):
                continue
            for at in sorted({part.before, part.before * part.size} - {1, total}):
                if mesh.can_cut(part.axis, at):
                    mesh = mesh.cut({part.axis: [at]})
        return mesh

    @cached_property
    def sizes(self) -> dict[str, int]:
        return dict(zip(self.axes, self.shape, strict=True))

    @property
    def devices(self) -> int:
        return prod(self.shape)

    def size(self, axes: Iterable[str]) -> int:
        """The number of shards that these axes make together: axes of this mesh, or parts or wholes of them."""
        sizes, made = self.sizes, 1
        for axis in axes:
            made *= sizes[axis] if axis in sizes else self._extent(axis)
        return made

    def _extent(self, axis: str) -> int:
        part = Part.parse(axis)
        if part is None or part.axis not in self.whole.sizes:
            raise KeyError(axis)
        return part.size or self.whole.sizes[part.axis]

    def index(self, axis: str) -> int:
        return self.axes.index(axis)

    def check(self, axes: Iterable[str], where: str | None = None) -> None:
        """Raise when one of `axes` is not an axis of this mesh."""
        for axis in axes:
            if axis in self.sizes:
                continue
            part = Part.parse(axis)
            if part is not None and part.size and part.axis in self.whole.sizes:
                raise JogakError(
                    f"mesh axis {part.axis!r} of size {self.whole.sizes[part.axis]} has no sub-axis {axis!r}",
                    where=where,
                    hint="in x:(a)b, a times b divides the size of x, and sub-axes that overlap contain each other",
                )
            raise unknown_name("mesh axis", axis, self.whole.axes, where=where)

    def coordinates(self, device: int) -> dict[str, int]:
        """Where a device stands on each axis."""
        position: dict[str, int] = {}
        for axis, size in zip(reversed(self.axes), reversed(self.shape), strict=True):
            device, position[axis] = divmod(device, size)
        return position

    def device(self, coordinates: dict[str, int]) -> int:
        number = 0
        for axis, size in zip(self.axes, self.shape, strict=True):
            number = number * size + coordinates[axis]
        return number

    def group(self, device: int, axes: Sequence[str]) -> tuple[int, ...]:
        """The devices that differ from `device` only on `axes`, in order with the last of `axes` fastest."""
        members = [self.coordinates(device)]
        for axis in axes:
            members = [{**member, axis: i} for member in members for i in range(self.sizes[axis])]
        return tuple(self.device(member) for member in members)

    def groups(self, axes: Sequence[str]) -> Iterator[tuple[int, ...]]:
        """All groups of a collective over `axes`, each once, by their first device."""
        for device in range(self.devices):
            group = self.group(device, axes)
            if group[0] == device:
                yield group

    def detailed(self) -> str:
        """`str()` with the sub-axes of axes that are taken apart: `data=2,x:(1)2=2,x:(2)2=2`."""
        return ",".join(f"{axis}={size}" for axis, size in self.sizes.items())

    def __str__(self) -> str:
        return ",".join(f"{axis}={size}" for axis, size in self.whole.sizes.items())
