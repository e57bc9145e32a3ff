"""Writing the files of the target `torch`: the program, what starts it, and the folder `rank` that it runs on."""

from __future__ import annotations

from pathlib import Path

from jogak.ingress.weights import write_weights
from jogak.report.output import write_text
from jogak.runtime.program import Program
from jogak.runtime.types import Precision
from jogak.sharding.mesh import Mesh
from jogak.targets.distributed.folder import write_runtime
from jogak.targets.distributed.rank.step import CONSTANTS, DEVICE
from jogak.targets.torch.program import write_program


def write_folder(program: Program, mesh: Mesh, folder: Path, title: str, precision: Precision | None = None) -> None:
    """Write the program of every device and what it takes to run it.

    Args:
        program: what every device runs.
        mesh: the mesh.
        folder: made where it does not exist.
        title: first line of the program.
        precision: "f64" holds and computes every float in float64.

    Raises:
        JogakError: an op cannot be run by this target, or the folder cannot be written.
    """
    text, constants = write_program(program, mesh, precision, title)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / DEVICE, text)
    write_runtime(folder)
    if constants:
        write_weights(constants, folder / CONSTANTS)
