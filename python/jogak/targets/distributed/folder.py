"""What an output folder holds for every target of this kind: what starts a rank, and what it runs on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jogak.ir.context import new_context, parse_file
from jogak.report.manifest import file_of
from jogak.runtime.program import Program, load_program

RUN = "run.py"
_HERE = Path(__file__).parent
_RANK = "rank"


def write_runtime(folder: Path) -> None:
    """Write `run.py` and the folder `rank`."""
    shutil.copyfile(_HERE / "run_script.py", folder / RUN)
    shutil.copytree(_HERE / _RANK, folder / _RANK, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)


def device_program(folder: Path, manifest: Mapping[str, Any]) -> Program:
    """The per-device program of an output folder.

    Raises:
        JogakError: the folder is incomplete.
    """
    return load_program(parse_file(file_of(folder, manifest["modules"]["device"]), new_context()))


def title_of(model: str, mesh: str) -> str:
    """What a program is, in one line."""
    return f"One device of {model} on the mesh {mesh}."
