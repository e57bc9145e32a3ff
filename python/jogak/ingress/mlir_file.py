"""Programs that are MLIR already: taken as they are."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch_mlir import ir

from jogak.errors import JogakError
from jogak.ingress.contract import NAME, ROLE, check_interface, name_the_unnamed
from jogak.ingress.stablehlo import is_stablehlo, read_stablehlo
from jogak.ir.context import parse_file
from jogak.ir.module import main_function

_DTYPES = {
    "f64": torch.float64,
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "i64": torch.int64,
    "i32": torch.int32,
    "i16": torch.int16,
    "i8": torch.int8,
    "i1": torch.bool,
}


def read_mlir(path: Path, context: ir.Context) -> ir.Module:
    """The module in a file, in linalg or StableHLO, with names for what has none.

    Raises:
        JogakError: it has no `@main`, or one whose arguments or results are no tensors of static shape.
        PassFailed: it is not valid MLIR.
    """
    module = _parsed(path, context)
    try:
        name_the_unnamed(module)
    except JogakError as error:
        raise JogakError(error.message, where=str(path), hint=error.hint) from None
    check_interface(module, str(path))
    return module


def _parsed(path: Path, context: ir.Context) -> ir.Module:
    """The module; one of StableHLO is lowered to linalg, with Shardy's annotations as constraints."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return parse_file(path, context)  # which says what is wrong
    return read_stablehlo(text, context, str(path))[0] if is_stablehlo(text) else parse_file(path, context)


def example_inputs(module: ir.Module) -> dict[str, Tensor]:
    """A tensor without values of the shape and type of every argument with the role `input`, by name.

    Raises:
        JogakError: an input has an element type that PyTorch lacks.
    """
    function = main_function(module)
    types = function.operation.attributes["function_type"].value.inputs
    described = function.operation.attributes["arg_attrs"] if types else []
    return {
        attributes[NAME].value: _empty(type_, attributes[NAME].value)
        for attributes, type_ in zip(described, types, strict=True)
        if attributes[ROLE].value == "input"
    }


def _empty(type_: ir.RankedTensorType, name: str) -> Tensor:
    element = str(type_.element_type)
    if element not in _DTYPES:
        raise JogakError(f"argument {name!r} has elements of type {element}", hint=f"use one of {', '.join(_DTYPES)}")
    return torch.empty(list(type_.shape), dtype=_DTYPES[element], device="meta")
