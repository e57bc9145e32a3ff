"""Writing the files of the target `torch`: the program, what starts it, and the folder `rank` that it runs on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jogak.ingress.weights import write_weights
from jogak.ir.context import new_context, parse_file
from jogak.report.manifest import file_of
from jogak.report.output import write_text
from jogak.runtime.program import Program, load_program
from jogak.runtime.types import Precision
from jogak.sharding.mesh import Mesh
from jogak.targets.torch.program import write_program
from jogak.targets.torch.rank.step import CONSTANTS, DEVICE

RUN = "run.py"
_HERE = Path(__file__).parent
_RANK = "rank"


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
    shutil.copyfile(_HERE / "run_script.py", folder / RUN)
    shutil.copytree(_HERE / _RANK, folder / _RANK, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    if constants:
        write_weights(constants, folder / CONSTANTS)


def device_program(folder: Path, manifest: Mapping[str, Any]) -> Program:
    """The per-device program of an output folder.

    Raises:
        JogakError: the folder is incomplete.
    """
    return load_program(parse_file(file_of(folder, manifest["modules"]["device"]), new_context()))


def title_of(model: str, mesh: str) -> str:
    """What a program is, in one line."""
    return f"One device of {model} on the mesh {mesh}."
