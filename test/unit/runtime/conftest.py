"""Fixtures: parse a function's text, and run it on one device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from jogak.ir.context import new_context, parse_module
from jogak.runtime.program import Program, load_program
from jogak.runtime.simulator import execute


@pytest.fixture(scope="session")
def context() -> Any:
    return new_context()


@pytest.fixture
def load(context: Any) -> Callable[[str], Program]:
    """Read the program in an MLIR text."""
    return lambda text: load_program(parse_module(text, context))


@pytest.fixture
def run(context: Any) -> Callable[..., list[Tensor]]:
    """Run the `@main` of an MLIR text; its arguments are `arg0`, `arg1`, ..."""

    def call(text: str, *tensors: Tensor, precision: Any = None) -> list[Tensor]:
        inputs = {f"arg{number}": tensor for number, tensor in enumerate(tensors)}
        return list(execute(parse_module(text, context), inputs, precision=precision).values())

    return call
