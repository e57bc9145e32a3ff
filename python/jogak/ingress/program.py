"""The traced program: one flat graph with a name and a role for every argument and result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, fx

ArgumentRole = Literal["parameter", "buffer", "optimizer_state", "input", "seed"]
ResultRole = Literal["output", "loss", "update"]


@dataclass(frozen=True)
class Argument:
    """An argument of `@main`; `example` has its shape and dtype, its values may be fake."""

    name: str
    role: ArgumentRole
    example: Tensor


@dataclass(frozen=True)
class Result:
    """A result of `@main`; `updates` names the argument that it is the next value of."""

    name: str
    role: ResultRole
    updates: str | None = None


@dataclass(frozen=True)
class Program:
    """A model as one functional graph: `graph`'s placeholders are `arguments`, its outputs are `results`, in order."""

    graph: fx.GraphModule
    arguments: Sequence[Argument]
    results: Sequence[Result]
    constants: dict[str, Tensor]
    """Values of the arguments that were tensor constants in the model's code."""
