"""`jogak zoo`: the models that ship with Jogak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from jogak.zoo import Description


def zoo(name: Annotated[str | None, typer.Argument(help="show the options of one model")] = None) -> int:
    """List the models of the zoo, or the options of one."""
    from jogak import zoo as models

    if name is None:
        for each in models.names():
            print(f"{each:14} {models.summary(each)}")
        return 0
    print(_describe(models.describe(name.removeprefix("zoo:"))))
    return 0


def _describe(description: Description) -> str:
    """A model with its options in columns."""
    lines = [f"zoo:{description.name}: {description.summary}", ""]
    names = max((len(option.name) for option in description.options), default=0)
    defaults = max((len(option.default) for option in description.options), default=0)
    for option in description.options:
        lines.append(f"  {option.name:{names}}  {option.default:{defaults}}  {option.type}")
    first = description.options[0]
    return "\n".join([*lines, "", f"jogak compile 'zoo:{description.name}?{first.name}={first.default}' ..."])
