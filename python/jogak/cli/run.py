"""`jogak run`: execute an output folder on the simulator, and compare it with PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jogak.cli.compile import TARGETS, _choice
from jogak.errors import EXIT_OK, EXIT_USER


def run(
    folder: Annotated[Path, typer.Argument(help="output folder of jogak compile")],
    target: Annotated[str, typer.Option(help="what runs it: sim")] = "sim",
    check: Annotated[bool, typer.Option(help="compare every result with PyTorch eager on one device")] = False,
    precision: Annotated[
        str | None, typer.Option(help="f64: hold every float in double, on both sides; declared: as the program says")
    ] = None,
    tolerance: Annotated[float | None, typer.Option(help="largest relative error that passes")] = None,
) -> int:
    """Run the per-device programs of FOLDER in one process and print what they did."""
    _choice("--target", target, TARGETS)
    _choice("--precision", precision, ("f64", "declared"))
    from jogak.report.manifest import load_manifest
    from jogak.runtime.check import check_run, simulate_folder

    manifest = load_manifest(folder)
    if not check:
        print(simulate_folder(folder, manifest, precision).describe())
        return EXIT_OK
    outcome = check_run(folder, manifest, precision, tolerance)
    print(outcome.describe())
    return EXIT_OK if outcome.passed else EXIT_USER
