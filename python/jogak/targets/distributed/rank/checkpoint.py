"""Checkpoints: each rank writes what it alone holds, and any mesh reads them back.

A checkpoint is a folder `step-00000010` with one safetensors file a rank and `index.json`, which says where every piece
of every value lies. It is written under another name and takes its own when all ranks have finished, so that a process
that ends at any moment leaves the checkpoints before it as they were. One that it replaces is moved aside for that
moment, and counts for as long as there is no other of its number.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import RunError
from .layout import logical, stored
from .mesh import coordinates
from .step import Step
from .values import Window, read_part, trimmed, window_of

INDEX = "index.json"
_PREFIX = "step-"
_PARTIAL = ".partial-"
_ASIDE = ".replaced-"
_VERSION = 1


def save_checkpoint(step: Step, folder: Path, number: int, keep: int = 2) -> Path:
    """Write the state of a step; every rank calls it.

    Args:
        step: whose state.
        folder: holds the checkpoints of a run; on a file system that all ranks see.
        number: of steps that are done.
        keep: how many checkpoints stay, at least 1: those with the largest numbers, and in any case this one.

    Returns:
        The folder of the checkpoint.

    Raises:
        RunError: none would stay.
    """
    if keep < 1:
        raise RunError(f"keep={keep} would leave no checkpoint: keep at least 1")
    rank, final = step.mesh.rank, folder / f"{_PREFIX}{number:08d}"
    partial = folder / f"{_PARTIAL}{number:08d}"
    if rank == 0:
        _clear(folder)
        partial.mkdir(parents=True)
    step.mesh.meet()
    held, state = {}, step.state
    entries = {entry["name"]: entry for entry in step.manifest["arguments"]}
    for name, value in state.items():
        window = _window(entries[name], step.mesh.axes, rank)
        if _owners(entries[name], step.mesh.axes).get(window) == rank:
            held[name] = trimmed(value.detach(), tuple(slice(*each) for each in window)).cpu().contiguous()
    path = partial / _file_of(rank)
    save_file(held, str(path))
    _sync(path)
    step.mesh.meet()
    if rank == 0:
        _publish(step, entries, list(state), partial, final, number)
        for old in _numbered(folder)[:-keep]:
            if old != final:
                _remove(old)
    step.mesh.meet()
    return final


def _publish(
    step: Step, entries: Mapping[str, Any], names: Sequence[str], partial: Path, final: Path, number: int
) -> None:
    tensors = {name: _describe(entries[name], step.mesh.axes) for name in names}
    index = partial / INDEX
    index.write_text(json.dumps({"version": _VERSION, "steps": number, "tensors": tensors}, indent=1), encoding="utf-8")
    _sync(index)
    aside = final.with_name(final.name.replace(_PREFIX, _ASIDE, 1))
    if final.exists():
        final.rename(aside)
    partial.rename(final)
    _sync(final.parent)
    if aside.exists():
        shutil.rmtree(aside)


def _describe(entry: Mapping[str, Any], axes: Mapping[str, int]) -> dict[str, Any]:
    pieces = [
        {"file": _file_of(rank), "start": [start for start, _ in window], "stop": [stop for _, stop in window]}
        for window, rank in _owners(entry, axes).items()
    ]
    shapes = {"shape": entry["shape"], "logical_shape": entry.get("logical_shape", entry["shape"])}
    return shapes | ({"shares": entry["shares"]} if "shares" in entry else {}) | {"pieces": pieces}


def _window(entry: Mapping[str, Any], axes: Mapping[str, int], rank: int) -> tuple[tuple[int, int], ...]:
    window = window_of(entry["sharding"], entry["shape"], axes, coordinates(axes, rank))
    return tuple((each.start, each.stop) for each in window)


def _owners(entry: Mapping[str, Any], axes: Mapping[str, int]) -> dict[tuple[tuple[int, int], ...], int]:
    """The first rank that holds each piece of a value: it writes it. Nobody writes padding."""
    owners: dict[tuple[tuple[int, int], ...], int] = {}
    for rank in range(torch.Size(axes.values()).numel()):
        window = _window(entry, axes, rank)
        if all(start < stop for start, stop in window):
            owners.setdefault(window, rank)
    return owners


def _file_of(rank: int) -> str:
    return f"rank-{rank:05d}.safetensors"


def _sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove a checkpoint, so that nobody takes what is left of it for one when this is interrupted."""
    doomed = path.with_name(f"{_PARTIAL}{path.name}")
    path.rename(doomed)
    shutil.rmtree(doomed)


def _clear(folder: Path) -> None:
    """Remove what an interrupted run left, and put back what it had moved aside."""
    for path in folder.glob(f"{_PARTIAL}*"):
        shutil.rmtree(path)
    for path in folder.glob(f"{_ASIDE}*"):
        final = _final_of(path)
        if final.exists():
            shutil.rmtree(path)
        else:
            path.rename(final)


def _final_of(aside: Path) -> Path:
    return aside.with_name(aside.name.replace(_ASIDE, _PREFIX, 1))


def _numbered(folder: Path) -> list[Path]:
    """The complete checkpoints by number; one that was moved aside counts where its place is still empty."""
    aside = {_final_of(path): path for path in folder.glob(f"{_ASIDE}*")}
    found = aside | {path: path for path in folder.glob(f"{_PREFIX}*")}
    return [found[final] for final in sorted(found) if (found[final] / INDEX).is_file()]


def latest(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run; None where there is none."""
    found = _numbered(folder)
    return found[-1] if found else None


class Checkpoint(AbstractContextManager["Checkpoint"]):
    """An open checkpoint: a source of values for any mesh.

    Args:
        path: folder of one checkpoint.

    Raises:
        RunError: it is incomplete or damaged.
    """

    def __init__(self, path: Path) -> None:
        try:
            index = json.loads((path / INDEX).read_text(encoding="utf-8"))
            self.steps = int(index["steps"])
            self._tensors: dict[str, Any] = index["tensors"]
        except (OSError, ValueError, KeyError) as error:
            raise RunError(f"{path}: this is no complete checkpoint: {error}") from None
        self.paths = [path]
        self._stack = ExitStack()
        self._files: dict[str, Any] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def whole(self, name: str) -> Tensor:
        """A value in the shape that PyTorch knows it in."""
        held = self._tensors[name]
        return logical(self.read({"name": name, **held}, tuple(slice(0, size) for size in held["shape"])), held)

    def read(self, entry: Mapping[str, Any], window: Window) -> Tensor:
        """A part of a value, put together from the pieces that it overlaps; only those are read.

        Raises:
            RunError: the value has another number of elements, or a file is damaged.
        """
        name, shape = entry["name"], list(entry["shape"])
        held = self._tensors[name]
        if torch.Size(held["shape"]).numel() != torch.Size(shape).numel():
            raise RunError(f"{name!r} has shape {held['shape']} in the checkpoint, but the program takes {shape}")
        if shape != held["shape"] or entry.get("shares") != held.get("shares"):  # another plan stores it otherwise
            return stored(self.whole(name), entry)[window].clone()
        result: Tensor | None = None
        for piece in held["pieces"]:
            overlap = [
                (max(low, own.start), min(high, own.stop))
                for low, high, own in zip(piece["start"], piece["stop"], window, strict=True)
            ]
            if any(low >= high for low, high in overlap):
                continue
            source = tuple(slice(low - at, high - at) for (low, high), at in zip(overlap, piece["start"], strict=True))
            target = tuple(slice(low - w.start, high - w.start) for (low, high), w in zip(overlap, window, strict=True))
            part = self._part(piece["file"], name, source)
            if result is None:
                result = part.new_empty([w.stop - w.start for w in window])
            result[target] = part
        if result is None:
            raise RunError(f"{name!r} has no piece in the checkpoint {self.paths[0]}")
        return result

    def _part(self, file: str, name: str, window: Window) -> Tensor:
        path = self.paths[0] / file
        try:
            if file not in self._files:
                self._files[file] = self._stack.enter_context(safe_open(str(path), framework="pt"))
            opened = self._files[file]
            part: Tensor = opened.get_slice(name)[window] if window else opened.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise RunError(f"{path}: the file is damaged: {error}") from None
        return part


def restore(step: Step, path: Path) -> int:
    """Replace the state of a step by that of a checkpoint, which may be of another mesh.

    Returns:
        How many steps were done.

    Raises:
        RunError: the checkpoint is incomplete, or lacks a value.
    """
    with Checkpoint(path) as source:
        for name, held in step.state.items():
            if name not in source:
                raise RunError(f"{path}: the checkpoint has no {name!r}")
            entry = step.entry(name)
            part = read_part(entry, source, step.mesh.axes, step.mesh.position, held.dtype, held.device)
            step.set_state({name: part})
        return source.steps
