"""`jogak explain`: why the plan is as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def explain(
    folder: Annotated[Path, typer.Argument(help="output folder of jogak compile")],
    value: Annotated[str | None, typer.Argument(help="a parameter, input or module path, or a glob")] = None,
) -> int:
    """Print the plan of FOLDER: arguments with shardings, collectives with causes; or why VALUE lies as it does."""
    from jogak.report.explain import explain_conflicts, explain_plan, explain_value, load_explanation
    from jogak.report.manifest import load_manifest

    manifest = load_manifest(folder)
    if value is None:
        print(explain_plan(folder, manifest))
        if manifest["search"] is None:
            for line in explain_conflicts(load_explanation(folder, manifest)):
                print(line)
    else:
        print(explain_value(load_explanation(folder, manifest), value))
    return 0
