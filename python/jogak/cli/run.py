"""`jogak run`: execute an output folder on the simulator or on processes, and compare it with PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jogak.cli.compile import choice
from jogak.errors import EXIT_OK, EXIT_USER, UsageError

if TYPE_CHECKING:
    from jogak.targets.target import Execution

_PROFILED = 10
"""Steps that are measured by default."""


def run(
    folder: Annotated[Path, typer.Argument(help="output folder of jogak compile")],
    target: Annotated[str | None, typer.Option(help="sim, torch or iree; the compiled one by default")] = None,
    check: Annotated[bool, typer.Option(help="compare every result with PyTorch eager")] = False,
    precision: Annotated[
        str | None, typer.Option(help="f64: hold every float in double, on both sides; declared: as the program says")
    ] = None,
    tolerance: Annotated[float | None, typer.Option(help="largest relative error that passes")] = None,
    nproc: Annotated[int | None, typer.Option(help="processes: one per device of the mesh")] = None,
    steps: Annotated[int | None, typer.Option(help="how often to run it; updates go back in")] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="torch.compile what lies between collectives (target torch)")
    ] = False,
    profile: Annotated[
        bool, typer.Option(help="measure segments, collectives and memory beside what is predicted, over 10 steps")
    ] = False,
    timeout: Annotated[float, typer.Option(help="seconds that everything may take; one collective at most 60")] = 600.0,
) -> int:
    """Run the per-device programs of FOLDER and print what they did."""
    choice("--precision", precision, ("f64", "declared"))
    _positive("--tolerance", tolerance, 0.0)
    _positive("--nproc", nproc, 1)
    _positive("--steps", steps, 1)
    if check and profile:
        raise UsageError("a check measures no times", where="--profile", hint="drop --check, or --profile")
    if compiled and profile:
        problem = "a profile times the lines of device.py, which --compile replaces"
        raise UsageError(problem, where="--profile", hint="drop --compile, or --profile")
    steps = steps or (_PROFILED if profile else 1)
    _positive("--timeout", timeout, 1e-3)
    if tolerance is not None and not check:
        raise UsageError("a tolerance is for a comparison", where="--tolerance", hint="add --check")
    if check and steps != 1:
        raise UsageError("a check compares one step", where="--steps", hint="drop --check, or --steps")
    from jogak.report.manifest import load_manifest
    from jogak.runtime.values import load_values
    from jogak.targets.target import Request
    from jogak.targets.values import target_of

    manifest = load_manifest(folder)
    engine = target_of(manifest, target)
    options = ["--compile"] if compiled else []
    if not check:
        request = Request(nproc, steps, precision, timeout, options, profile=profile)
        done = engine.execute(folder, manifest, load_values(folder, manifest), request)
        print(_profiled(folder, manifest, done) if profile else done.describe())
        return EXIT_OK
    from jogak.runtime.check import check_run

    outcome = check_run(
        folder,
        manifest,
        precision or (None if engine.has_double else "declared"),
        tolerance,
        lambda values, chosen: engine.execute(folder, manifest, values, Request(nproc, 1, chosen, timeout, options)),
    )
    print(outcome.describe())
    return EXIT_OK if outcome.passed else EXIT_USER


def _profiled(folder: Path, manifest: Mapping[str, Any], done: Execution) -> str:
    from jogak.report.profile import describe, write_profile

    return "\n".join(describe(write_profile(folder, manifest, done.profiles, done.program)))


def _positive(option: str, value: float | None, least: float) -> None:
    if value is not None and not value >= least:
        raise UsageError(f"{value} is less than {least:g}", where=option, hint=f"give a number from {least:g}")
