"""The device mesh: named axes with sizes, in major-to-minor order of the device number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from jogak.errors import JogakError, unknown_name

_AXIS = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Mesh:
    """Named axes of devices. Device numbers count the last axis fastest, as `shard.grid` does.

    Raises:
        JogakError: an axis is named twice, has no valid name, or a size is not positive.
    """

    axes: tuple[str, ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.shape):
            raise JogakError(f"the mesh has {len(self.axes)} axis names but {len(self.shape)} sizes")
        for axis, size in zip(self.axes, self.shape, strict=True):
            if not _AXIS.fullmatch(axis):
                raise JogakError(f"{axis!r} is not a valid mesh axis name", hint="use letters, digits and '_'")
            if self.axes.count(axis) > 1:
                raise JogakError(f"mesh axis {axis!r} is named twice", hint="every axis needs a name of its own")
            if size < 1:
                raise JogakError(f"mesh axis {axis!r} has size {size}", hint="a size is a positive integer")

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

    @cached_property
    def sizes(self) -> dict[str, int]:
        return dict(zip(self.axes, self.shape, strict=True))

    @property
    def devices(self) -> int:
        return prod(self.shape)

    def size(self, axes: Iterable[str]) -> int:
        """The number of shards that these axes make together."""
        return prod(self.sizes[axis] for axis in axes)

    def index(self, axis: str) -> int:
        return self.axes.index(axis)

    def check(self, axes: Iterable[str], where: str | None = None) -> None:
        """Raise when one of `axes` is not an axis of this mesh."""
        for axis in axes:
            if axis not in self.sizes:
                raise unknown_name("mesh axis", axis, self.axes, where=where)

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

    def __str__(self) -> str:
        return ",".join(f"{axis}={size}" for axis, size in zip(self.axes, self.shape, strict=True))
