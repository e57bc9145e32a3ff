"""A compiled program as a function with state: `step(inputs)` computes, and keeps what it updates."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from .errors import RunError
from .heap import keep_memory
from .layout import stored
from .mesh import Mesh
from .values import Files, Source, load_arguments, padded, trimmed, window_of

DEVICE = "device.py"
MANIFEST = "manifest.json"
CONSTANTS = "constants.safetensors"
PATIENCE = 3600.0
"""Seconds that ranks wait for each other to compile."""


class Step:
    """A program on this rank. Parameters, buffers and optimizer state live in it and are donated to every call.

    Args:
        program: the module `device.py`.
        manifest: of the compilation.
        mesh: this rank's place.
        source: values of parameters, buffers and, where it has them, inputs and optimizer state.
        constants: what `read_constants` gives.
        device: where it computes.

    Raises:
        RunError: a value is missing or does not fit.
    """

    def __init__(
        self,
        program: ModuleType,
        manifest: Mapping[str, Any],
        mesh: Mesh,
        source: Source,
        constants: Any,
        device: torch.device,
    ) -> None:
        keep_memory()
        self.program = program
        self.manifest = manifest
        self.mesh = mesh
        self.device = device
        self.constants = constants
        self.main: Callable[..., list[Tensor]] = program.main
        dtypes = [dtype for _, dtype, _ in program.ARGUMENTS]
        described = manifest["arguments"]
        self._held = load_arguments(described, source, mesh.axes, mesh.position, dtypes, device)
        self._number = {entry["name"]: number for number, entry in enumerate(described)}
        results = manifest["results"]
        self.updates = {entry["updates"]: number for number, entry in enumerate(results) if "updates" in entry}
        self.inputs = tuple(entry["name"] for entry in described if entry["role"] == "input")
        self.results: list[Tensor] = []

    @property
    def state(self) -> dict[str, Tensor]:
        """This rank's part of every parameter, buffer and optimizer state, by name."""
        described = self.manifest["arguments"]
        held = zip(described, self._held, strict=True)
        return {entry["name"]: value for entry, value in held if entry["role"] != "input" and value is not None}

    @property
    def held_bytes(self) -> int:
        """Bytes of this rank's part of every argument."""
        return sum(value.numel() * value.element_size() for value in self._held if value is not None)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all memory that is held between two steps: of arguments, and of what else shares it."""
        held = (value.untyped_storage() for value in [*self._held, *self.results] if value is not None)
        return sum({storage.data_ptr(): storage.nbytes() for storage in held}.values())

    def entry(self, name: str) -> Mapping[str, Any]:
        """What the manifest says of an argument."""
        found: Mapping[str, Any] = self.manifest["arguments"][self._number[name]]
        return found

    def input(self, name: str) -> Tensor:
        """This rank's part of an input, as the last call or a file gave it.

        Raises:
            RunError: it has no value yet.
        """
        value = self._held[self._number[name]]
        if value is None:
            raise RunError(f"no value for the input {name!r} yet")
        return value

    def compile(self) -> str:
        """Compile what lies between collectives with torch.compile's compiler; every rank calls it.

        Returns:
            What was done, for people.

        Raises:
            RunError: the compiler failed.
        """
        from .inductor import compile_segments  # it takes a second to import

        said = compile_segments(self)
        self.mesh.await_all("compiled", PATIENCE)
        return said

    def save(self, folder: str | Path, number: int, *, keep: int = 2) -> Path:
        """Write a checkpoint behind `number` steps; see `checkpoint.save_checkpoint`. Every rank calls it."""
        from .checkpoint import save_checkpoint  # it needs this module

        return save_checkpoint(self, Path(folder), number, keep)

    def restore(self, folder: str | Path) -> int:
        """Take the state of the newest checkpoint in a folder, of whatever mesh.

        Returns:
            How many steps were done; 0 where there is no checkpoint yet.

        Raises:
            RunError: the checkpoint is damaged, or is one of another model.
        """
        from .checkpoint import latest, restore

        path = latest(Path(folder))
        return 0 if path is None else restore(self, path)

    def load_state_dict(self, values: Mapping[str, Tensor]) -> None:
        """Take whole values by name, such as a module's `state_dict()`; each rank keeps its part.

        Raises:
            RunError: a name is unknown, or a value has the wrong shape.
        """
        self.set_state({name: self.local(name, value) for name, value in values.items()})

    def set_state(self, values: Mapping[str, Tensor]) -> None:
        """Replace parts of the state by this rank's parts of other values."""
        for name, value in values.items():
            self._held[self._number[name]] = value

    def local(self, name: str, value: Tensor) -> Tensor:
        """This rank's part of a whole value of an argument.

        Raises:
            RunError: there is no such argument, or the value has the wrong shape.
        """
        number = self._number.get(name)
        if number is None:
            raise RunError(f"the program has no argument {name!r}; its inputs are {', '.join(self.inputs)}")
        entry = self.manifest["arguments"][number]
        if value.numel() != torch.Size(entry["shape"]).numel():
            raise RunError(f"{name!r} has shape {list(value.shape)}, but the program takes {entry['shape']}")
        window = window_of(entry["sharding"], entry["shape"], self.mesh.axes, self.mesh.position)
        part = padded(stored(value.detach(), entry)[window], entry["local_shape"])
        return part.to(self.device, self.program.ARGUMENTS[number][1], copy=True).contiguous()  # it will be overwritten

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Run the program once.

        Args:
            inputs: whole values by name (`.` in a name written `_` is understood); those that are not given are the
                ones of the call before, or of the files.

        Returns:
            This rank's part of every result that is no update, without padding: the loss, outputs.

        Raises:
            RunError: an input is missing, unknown, or has the wrong shape.
            CommunicationError: a collective failed.
        """
        for name, value in inputs.items():
            full = next((each for each in self.inputs if each in (name, name.replace("_", "."))), name)
            self._held[self._number.get(full, -1)] = self.local(full, value)
        missing = [name for name in self.inputs if self._held[self._number[name]] is None]
        if missing:
            raise RunError(f"no value for the input {missing[0]!r}: pass it, or give a safetensors file of values")
        arguments = list(self._held)
        for number in self.updates:
            self._held[number] = None
        self.results.clear()
        with torch.no_grad():
            results = self.main(arguments, self.constants, self.mesh)
        for number, result in self.updates.items():
            self._held[number] = results[result]
        self.results = results
        described = zip(self.manifest["results"], results, strict=True)
        return {entry["name"]: self._own(entry, value) for entry, value in described if "updates" not in entry}

    def _own(self, entry: Mapping[str, Any], value: Tensor) -> Tensor:
        return trimmed(value, window_of(entry["sharding"], entry["shape"], self.mesh.axes, self.mesh.position))


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the compilation.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: the manifest cannot be read: {error}") from None
    return manifest


def read_program(folder: Path) -> ModuleType:
    """The module `device.py` of a folder.

    Raises:
        RunError: it is missing or damaged.
    """
    path = folder / DEVICE
    spec = importlib.util.spec_from_file_location(f"jogak_device_{abs(hash(path))}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise RunError(f"{path}: the program is missing: compile with --target torch")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RunError(f"{path}: the program cannot be read: {error}") from error
    return module


def read_constants(folder: Path, program: ModuleType, device: torch.device) -> Any:
    """What `main` gets beside its arguments: the program's large constants, or what the program itself loads.

    Raises:
        RunError: a file is missing or damaged.
    """
    if hasattr(program, "load"):
        try:
            return program.load(folder)
        except RuntimeError as error:
            raise RunError(str(error)) from error
    if not program.CONSTANTS:
        return {}
    path = folder / CONSTANTS
    if not path.is_file():
        raise RunError(f"{path}: the file of constants is missing: compile again")
    return load_file(str(path), str(device))


def open_step(
    folder: Path,
    program: ModuleType,
    manifest: Mapping[str, Any],
    files: Sequence[Path],
    mesh: Mesh,
    device: torch.device,
) -> Step:
    """A step with the values of some files.

    Args:
        folder: holds what the program loads.
        program: its `device.py`.

    Raises:
        RunError: a file is missing.
    """
    with Files(files) as source:
        return Step(program, manifest, mesh, source, read_constants(folder, program, device), device)
