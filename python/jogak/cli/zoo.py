"""`jogak zoo`: the models that ship with Jogak."""

from __future__ import annotations

from typing import Annotated

import typer


def zoo(name: Annotated[str | None, typer.Argument(help="show the options of one model")] = None) -> int:
    """List the models of the zoo, or the options of one."""
    from jogak import zoo as models

    if name is None:
        for each in models.names():
            print(f"{each:14} {models.summary(each)}")
        return 0
    description = models.describe(name)
    print(f"zoo:{description.name}: {description.summary}")
    for option in description.options:
        print(f"  {option}")
    return 0
