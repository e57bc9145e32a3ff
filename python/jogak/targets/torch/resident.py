"""A plan that runs in the processes that made it, without an output folder: whole inputs in, whole outputs out."""

from __future__ import annotations

import atexit
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch.distributed as dist
from torch import Tensor, nn

from jogak.compiler import Compilation
from jogak.errors import JogakError
from jogak.report.manifest import build_manifest
from jogak.runtime.program import Program, load_program
from jogak.runtime.sharded import argument_pieces, whole_results
from jogak.runtime.simulator import simulate
from jogak.runtime.types import dtype_of
from jogak.sharding.mesh import Mesh
from jogak.sharding.sharding import Sharding
from jogak.targets.distributed.rank.layout import logical, stored
from jogak.targets.distributed.rank.main import local_device
from jogak.targets.distributed.rank.mesh import Mesh as RankMesh
from jogak.targets.distributed.rank.step import Step
from jogak.targets.distributed.rank.values import Window
from jogak.targets.torch.program import write_program

_WHERE = "the devices of the mesh"


class Runner(Protocol):
    """Runs a plan."""

    def take(self, values: Mapping[str, Tensor]) -> None:
        """Hold whole weights by name from now on."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """The whole outputs of whole inputs."""


@dataclass(frozen=True)
class _Packed:
    """What rank 0 compiles and sends to the others.

    Attributes:
        text: `device.py`.
        constants: its large constants.
        manifest: of the compilation.
    """

    text: str
    constants: Mapping[str, Tensor]
    manifest: Mapping[str, Any]


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else int(os.environ.get("WORLD_SIZE", "1"))


def runner_of(make: Callable[[], Compilation], weights: nn.Module, timeout: float) -> Runner:
    """What runs a plan: the processes of torchrun, or the simulator where there is one process for several devices.

    Args:
        make: compiles; where there are several processes, only rank 0 calls it.
        weights: the module that holds them.
        timeout: seconds that a collective may take.

    Raises:
        JogakError: `make` failed, or the number of processes is not that of the mesh.
    """
    if world_size() == 1:
        made = make()
        return _Ranks(_pack(made), weights, timeout) if made.mesh.devices == 1 else _Simulated(made, weights)
    if not dist.is_initialized():
        device = local_device()
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(seconds=timeout))
        atexit.register(dist.destroy_process_group)
    return _Ranks(_shared(make), weights, timeout)


def _shared(make: Callable[[], Compilation]) -> _Packed:
    """What rank 0 compiled, on every rank: all run one plan, whatever a search with a time limit would find on each.

    Raises:
        JogakError: rank 0 could not compile.
    """
    sent: list[Any] = [None]
    if dist.get_rank() == 0:
        try:
            sent[0] = _pack(make())
        except Exception as error:
            dist.broadcast_object_list([_told(error)])  # they wait for it
            raise
    dist.broadcast_object_list(sent)
    if isinstance(sent[0], JogakError):
        raise sent[0]
    packed: _Packed = sent[0]
    return packed


def _told(error: Exception) -> JogakError:
    """An error as the other ranks get it: one that can surely be sent."""
    if isinstance(error, JogakError):
        return JogakError(error.message, where=error.where, hint=error.hint)
    return JogakError(f"rank 0 could not compile: {type(error).__name__}: {error}", where=_WHERE)


def _pack(made: Compilation) -> _Packed:
    assert made.device is not None
    text, constants = write_program(load_program(made.device), made.mesh, None, made.configuration.model)
    return _Packed(text, constants, build_manifest(made))


class _Module:
    """The weights of a module as a source of values."""

    paths: Sequence[Path] = ()

    def __init__(self, module: nn.Module) -> None:
        self._values = dict(module.named_parameters()) | dict(module.named_buffers())

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def read(self, entry: Mapping[str, Any], window: Window) -> Tensor:
        """A copy of a part of a value."""
        return stored(self._values[entry["name"]].detach(), entry)[window].clone()


class _Ranks:
    """This process is one device."""

    def __init__(self, packed: _Packed, weights: nn.Module, timeout: float) -> None:
        program = ModuleType("jogak_device")
        exec(compile(packed.text, "<device.py>", "exec"), vars(program))
        axes = Mesh(tuple(program.MESH), tuple(program.MESH.values()))
        if world_size() != axes.devices:
            raise JogakError(
                f"there are {world_size()} processes, but the mesh {axes} has {axes.devices} devices",
                where=_WHERE,
                hint=f"start {axes.devices} processes with torchrun, or give another mesh",
            )
        placed = [Sharding.parse(entry["sharding"]).on(axes) for entry in packed.manifest["results"]]
        self._gathered = [[(dim, along) for dim, along in enumerate(each.dims) if along] for each in placed]
        groups = dict.fromkeys([*program.GROUPS, *(along for each in self._gathered for _, along in each)])
        rank = dist.get_rank() if dist.is_initialized() else 0
        mesh = RankMesh(program.MESH, list(groups), rank, timeout)
        source: Any = _Module(weights)
        self._step = Step(program, packed.manifest, mesh, source, packed.constants, local_device())

    def take(self, values: Mapping[str, Tensor]) -> None:
        self._step.load_state_dict(values)

    def __call__(self, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        self._step(**inputs)
        return list(self._whole())

    def _whole(self) -> Iterator[Tensor]:
        results = zip(self._step.manifest["results"], self._gathered, self._step.results, strict=True)
        for entry, gathered, value in results:
            for dim, axes in gathered:
                value = self._step.mesh.all_gather(value, axes, dim).wait()
            yield logical(value[tuple(slice(0, size) for size in entry["shape"])], entry)


@dataclass
class _Simulated:
    """All devices in this process.

    Attributes:
        made: the compilation.
        weights: the module that holds them.
        pieces: for each argument that is a weight what every device holds of it.
    """

    made: Compilation
    weights: nn.Module
    pieces: dict[str, list[Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = self.made.mesh.devices
        warnings.warn(
            f"one process runs the {count} devices of the mesh {self.made.mesh} on the simulator, in turn; "
            f"start the script with torchrun --nproc-per-node {count} to use them",
            stacklevel=2,
        )
        assert self.made.device is not None
        self._program: Program = load_program(self.made.device)
        manifest = build_manifest(self.made)
        self._arguments = {entry["name"]: entry for entry in manifest["arguments"]}
        self._results = manifest["results"]
        self.take(dict(self.weights.named_parameters()) | dict(self.weights.named_buffers()))

    def take(self, values: Mapping[str, Tensor]) -> None:
        self.pieces |= {name: self._cut(name, value) for name, value in values.items() if name in self._arguments}

    def _cut(self, name: str, value: Tensor) -> list[Tensor]:
        entry = self._arguments[name]
        return argument_pieces(entry, value.detach().to(dtype_of(entry["element"])), self.made.mesh)

    def __call__(self, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        pieces = self.pieces | {name: self._cut(name, value) for name, value in inputs.items()}
        given = [{name: pieces[name][device] for name in self._arguments} for device in range(self.made.mesh.devices)]
        outputs = simulate(self._program, self.made.mesh, given).outputs
        return list(whole_results(self._results, outputs, self.made.mesh)[0].values())
