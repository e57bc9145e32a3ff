"""Values of arguments from safetensors files: each rank reads the part that it holds, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import RunError
from .layout import stored

Window = tuple[slice, ...]


class Source(Protocol):
    """Where values come from: `Files`, or a checkpoint."""

    paths: list[Path]

    def __contains__(self, name: object) -> bool: ...

    def read(self, entry: Mapping[str, Any], window: Window) -> Tensor:
        """A part of a value, which the manifest describes."""


class Files(AbstractContextManager["Files"]):
    """Open safetensors files; where two of them hold a name, the later one counts.

    Args:
        paths: the files.

    Raises:
        RunError: a file is missing or damaged.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._stack = ExitStack()
        self.paths = list(paths)
        self._where: dict[str, Any] = {}
        try:
            for path in paths:
                opened = self._open(path)
                self._where |= dict.fromkeys(opened.keys(), opened)
        except BaseException:
            self._stack.close()
            raise

    def _open(self, path: Path) -> Any:
        if not path.is_file():
            raise RunError(f"{path}: there is no such file of values")
        try:
            return self._stack.enter_context(safe_open(str(path), framework="pt"))
        except (SafetensorError, OSError) as error:
            raise RunError(f"{path}: the file of values is damaged: {error}") from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __contains__(self, name: object) -> bool:
        return name in self._where

    def read(self, entry: Mapping[str, Any], window: Window) -> Tensor:
        """A part of a value; only that is read, unless the file holds the value in another shape.

        Args:
            entry: the value in the manifest.
            window: which part of what the program stores.

        Raises:
            RunError: the value has another number of elements.
        """
        name, shape = entry["name"], list(entry["shape"])
        file = self._where[name]
        found = list(file.get_slice(name).get_shape())
        if torch.Size(found).numel() != torch.Size(shape).numel():
            raise RunError(f"the value of {name!r} has shape {found}, but the program takes {shape}")
        if not shape or found != shape:
            return stored(file.get_tensor(name), entry)[window].clone()
        part: Tensor = file.get_slice(name)[window]
        whole_rows = part.untyped_storage().nbytes() == part.nbytes
        return part if whole_rows else part.clone()  # a slice of columns would keep all of them in memory


def window_of(sharding: str, shape: Sequence[int], mesh: Mapping[str, int], position: Mapping[str, int]) -> Window:
    """For each dimension which elements a device holds.

    `n` elements on `p` devices lie in pieces of `ceil(n / p)`: the last pieces hold fewer, or none, and padding behind
    them (the rule of the compiler's `sharding/padding.py`, which a generated folder does without).

    Args:
        sharding: written `[data, _, model]`.
        shape: of the whole value.
        mesh: the size of each axis.
        position: of the device on each axis.
    """
    return tuple(_windows(sharding, shape, mesh, position))


def _windows(
    sharding: str, shape: Sequence[int], mesh: Mapping[str, int], position: Mapping[str, int]
) -> Iterator[slice]:
    for size, dim in zip(shape, sharding.strip("[]").split(","), strict=False):
        index, parts = 0, 1
        for axis in (part for name in dim.split() for part in _parts(name, mesh)):
            index = index * mesh[axis] + position[axis]
            parts *= mesh[axis]
        piece = -(-size // parts)
        yield slice(min(index * piece, size), min((index + 1) * piece, size))


def _parts(name: str, mesh: Mapping[str, int]) -> list[str]:
    """The mesh's axes for an axis, which may be taken apart into sub-axes `x:(1)2`, `x:(2)2`; none for `_`."""
    return [axis for axis in mesh if axis == name or axis.startswith(f"{name}:(")]


def is_empty(window: Window) -> bool:
    """Whether a device holds no element: only padding."""
    return any(each.start >= each.stop for each in window)


def trimmed(part: Tensor, window: Window) -> Tensor:
    """What a device holds without its padding: a view."""
    return part[tuple(slice(0, each.stop - each.start) for each in window)]


def padded(part: Tensor, local_shape: Sequence[int]) -> Tensor:
    """A part with zeros behind it, in the shape that the program takes; the part itself where nothing is missing."""
    if list(part.shape) == list(local_shape):
        return part
    whole = part.new_zeros(list(local_shape))
    whole[tuple(slice(0, size) for size in part.shape)] = part
    return whole


def read_part(
    entry: Mapping[str, Any],
    source: Source,
    mesh: Mapping[str, int],
    position: Mapping[str, int],
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """A device's part of an argument, with zeros as its padding.

    Args:
        entry: the argument in the manifest.
        source: holds its value.
        mesh: the size of each axis.
        position: of the device on each axis.
        dtype: what the program takes.
        device: where it computes.

    Raises:
        RunError: the value does not fit, or its file is damaged.
    """
    window = window_of(entry["sharding"], entry["shape"], mesh, position)
    if is_empty(window):
        return torch.zeros(entry["local_shape"], dtype=dtype, device=device)
    return padded(source.read(entry, window).to(device, dtype), entry["local_shape"])


def load_arguments(
    described: Sequence[Mapping[str, Any]],
    source: Source,
    mesh: Mapping[str, int],
    position: Mapping[str, int],
    dtypes: Sequence[torch.dtype],
    device: torch.device,
) -> list[Tensor | None]:
    """This rank's part of every argument; optimizer state that no file holds is zero, an input is None.

    Args:
        described: the arguments in the manifest.
        source: of values.
        mesh: the size of each axis.
        position: of this rank on each axis.
        dtypes: what the program takes.
        device: where it computes.

    Raises:
        RunError: no file holds a parameter or a buffer.
    """
    loaded: list[Tensor | None] = []
    for entry, dtype in zip(described, dtypes, strict=True):
        name = entry["name"]
        if name in source:
            loaded.append(read_part(entry, source, mesh, position, dtype, device))
        elif entry["role"] == "optimizer_state":
            loaded.append(torch.zeros(entry["local_shape"], dtype=dtype, device=device))
        elif entry["role"] == "input":
            loaded.append(None)
        else:
            names = ", ".join(map(str, source.paths)) or "no file"
            raise RunError(f"no value for the {entry['role']} {name!r} in {names}: give a safetensors file of values")
    return loaded
