"""The target `iree`: functions between collectives, compiled by IREE; one process per device under torchrun."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from jogak.errors import JogakError
from jogak.ir.context import new_context, parse_file
from jogak.ir.module import main_function
from jogak.memory.reading import read_tape
from jogak.report.manifest import file_of
from jogak.report.output import write_text
from jogak.runtime.program import load_program
from jogak.sharding.mesh import Mesh
from jogak.targets.distributed.execute import execute
from jogak.targets.distributed.folder import title_of, write_runtime
from jogak.targets.distributed.rank.step import DEVICE
from jogak.targets.iree.backend import BACKENDS
from jogak.targets.iree.compiler import compile_module, require_compiler, transients
from jogak.targets.iree.fusion import allocated
from jogak.targets.iree.program import MODULE, write_program
from jogak.targets.iree.segments import segment
from jogak.targets.target import Execution, Request

if TYPE_CHECKING:
    from torch_mlir import ir

    from jogak.compiler import Compilation

SOURCE = "segments.mlir"


class Iree:
    """Writes `segments.mlir`, `segments.vmfb` and `device.py`, which calls it; runs them with torchrun.

    Args:
        name: which backend of IREE, by the target's name.
    """

    has_double = False
    needs_values = True

    def __init__(self, name: str = "iree") -> None:
        self.backend = BACKENDS[name]

    def require(self) -> None:
        """Look for IREE.

        Raises:
            JogakError: it is not installed.
        """
        require_compiler()

    def allocations(self, module: ir.Module) -> Mapping[ir.Operation, int]:
        """Every result, since IREE writes none over an operand, and the matrices that an op becomes a product of.

        Where functions are cut keeps what IREE holds in one of them to the plan.
        """
        return dict(allocated(read_tape(main_function(module).operation).ops))

    def write(self, made: Compilation, folder: Path) -> None:
        """Cut, compile, and write the program of a device.

        Raises:
            JogakError: IREE is not installed, or cannot compile an op.
        """
        assert made.device is not None
        self.write_module(made.device, made.mesh, folder, title_of(made.configuration.model, str(made.mesh)))

    def write_module(self, module: ir.Module, mesh: Mesh, folder: Path, title: str) -> None:
        """Write the folder of a per-device program.

        Raises:
            JogakError: IREE is not installed, or cannot compile an op.
        """
        require_compiler()
        cut = segment(module, load_program(module), lambda text: transients(text, self.backend))
        compiled = compile_module(cut.text, self.backend)
        text = write_program(cut, mesh, hashlib.sha256(compiled).hexdigest(), title)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / SOURCE, cut.text)
        (folder / MODULE).write_bytes(compiled)
        write_text(folder / DEVICE, text)
        write_runtime(folder)

    def execute(
        self, folder: Path, manifest: Mapping[str, Any], values: Mapping[str, Tensor], request: Request
    ) -> Execution:
        """Run a folder on processes of this machine.

        Raises:
            JogakError: the backend is not the CPU, a profile or double precision is asked for, the number of processes
                is not that of the mesh, or a process failed.
        """
        if request.profile:
            raise JogakError(
                "what runs between collectives is one call to IREE, whose ops have no times of their own",
                where="--profile",
                hint="profile the same folder with --target torch",
            )
        if self.backend.name != "iree":
            raise JogakError(
                f"the target {self.backend.name} only compiles: processes run llvm-cpu",
                where=f"--target {self.backend.name}",
                hint="run it with --target iree; segments.vmfb is for your own launcher",
            )
        if request.precision == "f64":
            raise JogakError(
                "the target iree computes as the program declares: IREE has no double-precision exp, tanh, erf",
                where="--precision f64",
                hint="drop it, or check with --target torch",
            )

        def write(work: Path) -> None:
            module = parse_file(file_of(folder, manifest["modules"]["device"]), new_context())
            mesh = Mesh.from_json(manifest["mesh"])
            self.write_module(module, mesh, work, title_of(manifest["configuration"]["model"], str(mesh)))

        return execute(folder, manifest, values, request, self.backend.name, write)
