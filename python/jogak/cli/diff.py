"""`jogak diff`: what two plans do differently."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def diff(
    first: Annotated[Path, typer.Argument(help="output folder of jogak compile")],
    second: Annotated[Path, typer.Argument(help="another one")],
) -> int:
    """Print what changes from the plan of FIRST to that of SECOND: times, memory, collectives, arguments."""
    from jogak.report.difference import difference
    from jogak.report.manifest import load_manifest

    print(difference(load_manifest(first), load_manifest(second)))
    return 0
