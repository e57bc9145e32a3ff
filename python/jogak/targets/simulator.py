"""The target `sim`: all devices of the mesh in one process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from jogak.errors import JogakError
from jogak.runtime.check import simulate_folder
from jogak.targets.target import Execution, Request

if TYPE_CHECKING:
    from torch_mlir import ir

    from jogak.compiler import Compilation


class Simulator:
    """Runs the MLIR modules of a folder as they are."""

    has_double = True
    needs_values = False

    def require(self) -> None:
        """Nothing: it needs what Jogak needs."""

    def allocations(self, module: ir.Module) -> Mapping[ir.Operation, int]:
        """Nothing: its arena holds the values of the program."""
        return {}

    def write(self, made: Compilation, folder: Path) -> None:
        """Nothing: the modules are all that it needs."""

    def execute(
        self, folder: Path, manifest: Mapping[str, Any], values: Mapping[str, Tensor], request: Request
    ) -> Execution:
        """Run one step of every device.

        Raises:
            JogakError: the folder is incomplete, or several steps or processes are asked for.
        """
        if request.profile:
            raise JogakError(
                "the simulator measures no times", where="--profile", hint="compile with --target torch, and run that"
            )
        if request.steps != 1 or request.processes not in (None, 1):
            option = "--steps" if request.steps != 1 else "--nproc"
            raise JogakError(
                "the simulator runs one step in one process", where=option, hint="add --target torch, or drop it"
            )
        if request.options:
            option = " ".join(request.options)
            raise JogakError("the simulator has no such option", where=option, hint="add --target torch, or drop it")
        done = simulate_folder(folder, manifest, request.precision, values)
        return Execution(done.results, done.disagreement, done.collectives)
