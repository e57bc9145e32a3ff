"""The target `torch`: one process per device under torchrun, on torch.distributed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from jogak.runtime.program import load_program
from jogak.targets.distributed.execute import execute
from jogak.targets.distributed.folder import title_of
from jogak.targets.target import Execution, Request
from jogak.targets.torch.folder import write_folder

if TYPE_CHECKING:
    from jogak.compiler import Compilation


class Torch:
    """Writes `device.py`, `run.py` and the folder `rank`; runs them with torchrun on this machine."""

    needs_values = True

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
        return execute(folder, manifest, values, request, write_folder)
