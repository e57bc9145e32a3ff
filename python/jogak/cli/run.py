"""`jogak run`: execute an output folder on the simulator, and compare it with PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jogak.cli.compile import TARGETS, choice
from jogak.errors import EXIT_OK, EXIT_USER, UsageError


def run(
    folder: Annotated[Path, typer.Argument(help="output folder of jogak compile")],
    target: Annotated[str, typer.Option(help="what runs it: sim")] = "sim",
    check: Annotated[bool, typer.Option(help="compare every result with PyTorch eager")] = False,
    precision: Annotated[
        str | None, typer.Option(help="f64: hold every float in double, on both sides; declared: as the program says")
    ] = None,
    tolerance: Annotated[float | None, typer.Option(help="largest relative error that passes")] = None,
) -> int:
    """Run the per-device programs of FOLDER in one process and print what they did."""
    choice("--target", target, TARGETS)
    choice("--precision", precision, ("f64", "declared"))
    if tolerance is not None and not tolerance >= 0:
        raise UsageError(f"a tolerance of {tolerance} is negative", where="--tolerance", hint="give a number from 0")
    if tolerance is not None and not check:
        raise UsageError("a tolerance is for a comparison", where="--tolerance", hint="add --check")
    from jogak.report.manifest import load_manifest
    from jogak.runtime.check import check_run, simulate_folder

    manifest = load_manifest(folder)
    if not check:
        print(simulate_folder(folder, manifest, precision).describe())
        return EXIT_OK
    outcome = check_run(folder, manifest, precision, tolerance)
    print(outcome.describe())
    return EXIT_OK if outcome.passed else EXIT_USER
