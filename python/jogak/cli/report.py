"""`jogak report`: an output folder as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jogak.errors import EXIT_OK


def report(folder: Annotated[Path, typer.Argument(help="output folder of jogak compile")]) -> int:
    """Write report.html into FOLDER: plan, search, collectives, memory, and what was measured."""
    from jogak.report.manifest import load_manifest
    from jogak.report.page.build import write_report

    print(write_report(folder, load_manifest(folder)))
    return EXIT_OK
