"""`jogak frontier`: what a step costs in time for what it saves in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from jogak.errors import EXIT_OK, UsageError


def frontier(
    folder: Annotated[Path, typer.Argument(help="output folder of jogak compile")],
    points: Annotated[int, typer.Option(help="how many budgets")] = 10,
    time_limit: Annotated[float, typer.Option(help="seconds for each of them")] = 10.0,
    plot: Annotated[Path | None, typer.Option(help="also draw it, into this SVG file")] = None,
) -> int:
    """Print time against memory of FOLDER's program as one JSON object: from the least memory to no recomputation."""
    if points < 2:
        raise UsageError(f"{points} points are no frontier", where="--points", hint="give at least 2")
    from jogak.report.frontier import frontier_of
    from jogak.report.frontier_plot import frontier_svg
    from jogak.report.manifest import load_manifest
    from jogak.report.output import write_text

    found = frontier_of(folder, load_manifest(folder), points, time_limit)
    print(json.dumps(found, indent=1))
    if plot is not None:
        write_text(plot, frontier_svg(found))
    return EXIT_OK
