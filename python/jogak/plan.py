"""The Python API: a model in memory in, a plan out."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from jogak.compiler import Compilation, compile_model
from jogak.configuration import AUTOCASTS, LOSSES, OPTIMIZERS, Configuration, what_is_searched
from jogak.cost.machine_file import DEFAULT_MACHINE
from jogak.errors import JogakError, unknown_name
from jogak.ingress.model import Model
from jogak.ingress.options import Autocast, ImportOptions, Loss, Optimizer
from jogak.ir.module import print_module
from jogak.report.manifest import build_manifest
from jogak.report.output import check_target, write_output
from jogak.report.summary import summary
from jogak.sharding.constraints import strategies
from jogak.sharding.mesh import Mesh

Strategy = Mapping[str, str | Sequence[str]]
"""Patterns to requests."""


@dataclass(frozen=True)
class Plan:
    """A finished compilation.

    Attributes:
        compilation: the programs and what was promised of them.
    """

    compilation: Compilation

    @property
    def shardings(self) -> dict[str, str]:
        """How each argument lies on the mesh, by name."""
        return {entry["name"]: entry["sharding"] for entry in self.manifest["arguments"]}

    @property
    def manifest(self) -> dict[str, Any]:
        """The content of manifest.json."""
        return build_manifest(self.compilation)

    @property
    def program(self) -> str:
        """The annotated whole program as MLIR text."""
        return print_module(self.compilation.program)

    @property
    def device_program(self) -> str:
        """The program of one device as MLIR text."""
        return print_module(self.compilation.device)

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Write the output folder, as `jogak compile -o` does.

        Raises:
            JogakError: the folder exists and `force` is not given, or cannot be written.
        """
        check_target(Path(folder), force=force)
        write_output(self.compilation, Path(folder))

    def __str__(self) -> str:
        return summary(self.compilation)


def compile(
    model: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    devices: int | None = None,
    mesh: str | Mesh | None = None,
    train: Optimizer | str | None = None,
    loss: Loss | None = None,
    autocast: Autocast | None = None,
    shard: Strategy | Sequence[Strategy] | None = None,
    search: bool | None = None,
    machine: str = DEFAULT_MACHINE,
    memory: str = "auto",
    micro_batches: int | None = None,
    seed: int = 0,
    target: str = "sim",
) -> Plan:
    """Compile a model for a number of devices, or for the devices of a mesh.

    Args:
        model: any module; its weights may be on the meta device.
        args: example inputs, which fix all shapes.
        kwargs: example inputs passed by name.
        devices: how many; their arrangement is searched.
        mesh: `data=2,model=4`, or a `Mesh`, instead.
        train: `"sgd"`, `"adamw"` or an `Optimizer` makes a training step; None compiles inference.
        loss: loss on the model's output; None uses the one that the model returns.
        autocast: mixed precision.
        shard: patterns to requests (or lists of them), as with `--shard`; later entries win. A list of such mappings
            is applied in order, each to a fixed point before the next: data parallel, then tensor parallel, then ZeRO.
        search: whether the search decides what `shard` leaves open; by default where `shard` gives nothing.
        machine: preset or machine file that prices plans.
        memory: bytes of a device that the program may take, as with `--memory`.
        micro_batches: parts in which a training step takes its batch; None: as many as the memory asks for.
        seed: of the values that the model does not bring.
        target: what the programs run on.

    Raises:
        JogakError: the model or an argument is wrong.
    """
    if isinstance(train, str):
        train = Optimizer(_known("train", train, OPTIMIZERS))  # type: ignore[arg-type]
    options = ImportOptions(train, _known("loss", loss, LOSSES), _known("autocast", autocast, AUTOCASTS), seed)  # type: ignore[arg-type]
    name = type(model).__name__
    tables = [shard] if isinstance(shard, Mapping) else list(shard or [])
    caller = sys._getframe(1)
    place = f"{caller.f_code.co_filename}:{caller.f_lineno}"
    requests = [(f"{each.pattern}={each.spec}", each.source) for each in strategies(tables, lambda _: place)]
    if (mesh is None) == (devices is None):
        raise JogakError("either devices or mesh says what to compile for", where="jogak.compile", hint="devices=4")
    searched = what_is_searched(search, mesh_given=mesh is not None, constrained=bool(requests))
    placed = f"data={devices}" if mesh is None else str(mesh)
    configuration = Configuration(
        name,
        placed,
        options,
        requests,
        target,
        machine=machine,
        searched=searched,
        memory=memory,
        micro_batches=micro_batches,
    )
    with _modes_kept(model):
        return Plan(compile_model(configuration, Model(name, model, tuple(args), dict(kwargs or {}))))


def _known(argument: str, value: str | None, known: Sequence[str]) -> str | None:
    if value is not None and value not in known:
        raise unknown_name("value", value, known, where=argument)
    return value


@contextmanager
def _modes_kept(model: nn.Module) -> Iterator[None]:
    """Leave every submodule in the mode (training or evaluation) in which it was."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
