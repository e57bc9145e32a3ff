"""The target `torch`: one process per device under torchrun, on torch.distributed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from jogak.runtime.program import load_program
from jogak.runtime.reader import read_with_ops
from jogak.runtime.types import Precision
from jogak.sharding.mesh import Mesh
from jogak.targets.distributed.execute import execute
from jogak.targets.distributed.folder import device_program, title_of
from jogak.targets.target import Execution, Request
from jogak.targets.torch.folder import write_folder
from jogak.targets.torch.scratch import allocations

if TYPE_CHECKING:
    from torch_mlir import ir

    from jogak.compiler import Compilation


class Torch:
    """Writes `device.py`, `run.py` and the folder `rank`; runs them with torchrun on this machine."""

    has_double = True
    needs_values = True

    def require(self) -> None:
        """Nothing: it needs what Jogak needs."""

    def allocations(self, module: ir.Module) -> Mapping[ir.Operation, int]:
        """What PyTorch's allocator gives to each op, by running its kernel on tensors without data."""
        program, ops = read_with_ops(module)
        return {ops[number]: bytes_ for number, bytes_ in allocations(program).items() if number in ops}

    def write(self, made: Compilation, folder: Path) -> None:
        """Write the program of a device as Python.

        Raises:
            JogakError: an op cannot be run by this target.
        """
        assert made.device is not None
        program = load_program(made.device)
        title = title_of(made.configuration.model, str(made.mesh))
        write_folder(program, made.mesh, folder, title)

    def execute(
        self, folder: Path, manifest: Mapping[str, Any], values: Mapping[str, Tensor], request: Request
    ) -> Execution:
        """Run a folder on processes of this machine.

        Raises:
            JogakError: the number of processes is not that of the mesh, or a process failed.
        """

        def write(work: Path) -> None:
            mesh = Mesh.from_json(manifest["mesh"])
            title = title_of(manifest["configuration"]["model"], str(mesh))
            precision: Precision | None = "f64" if request.precision == "f64" else None
            write_folder(device_program(folder, manifest), mesh, work, title, precision)

        return execute(folder, manifest, values, request, "torch", write)
