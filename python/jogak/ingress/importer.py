"""The front door of ingress: from what the user names to one `@main` in linalg-on-tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch_mlir import ir

from jogak.errors import JogakError
from jogak.ingress.lower import lower
from jogak.ingress.model import Model, load_model
from jogak.ingress.options import ImportOptions
from jogak.ingress.program import Program
from jogak.ingress.trace import trace_model
from jogak.ir.context import new_context


@dataclass
class Imported:
    """A program as it enters the compiler.

    Attributes:
        module: one function `@main` with the attributes of the contract.
        context: owns `module`.
        weights: values of parameters and buffers by name; None when there is nothing to write, because the model was
            built without values and can be built again from the seed.
        inputs: an example of each input by name; its values may be fake.
        reference: whether PyTorch can run the same program to compare with.
    """

    module: ir.Module
    context: ir.Context
    weights: Mapping[str, Tensor] | None
    inputs: Mapping[str, Tensor]
    reference: bool


def annotate(module: ir.Module, program: Program) -> None:
    """Put names, roles and updates on `@main`'s arguments and results."""
    numbers = {argument.name: number for number, argument in enumerate(program.arguments)}
    with module.context:
        function = module.body.operations[0]
        function.arg_attrs = ir.ArrayAttr.get([_describe(each.name, each.role) for each in program.arguments])
        function.res_attrs = ir.ArrayAttr.get(
            [_describe(each.name, each.role, numbers[each.updates] if each.updates else None) for each in program.results]
        )


def _describe(name: str, role: str, updates: int | None = None) -> ir.DictAttr:
    entries: dict[str, Any] = {"jogak.name": ir.StringAttr.get(name), "jogak.role": ir.StringAttr.get(role)}
    if updates is not None:
        entries["jogak.updates"] = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), updates)
    return ir.DictAttr.get(entries)


def _weights(model: Model, program: Program) -> dict[str, Tensor] | None:
    """Values of the parameters and buffers that the program reads, unless the model has none."""
    constants = {a.name: program.constants[a.name] for a in program.arguments if a.name in program.constants}
    if model.on_meta:
        return constants or None
    values = {**model.parameters, **model.buffers}
    return {**{a.name: values[a.name].detach() for a in program.arguments if a.name in values}, **constants}


def import_model(model: Model, options: ImportOptions) -> Imported:
    """Trace a model and lower it.

    Raises:
        JogakError: the model cannot be traced, or uses an op that cannot be lowered.
    """
    program = trace_model(model, options)
    context = new_context()
    module = lower(program.graph, context)
    annotate(module, program)
    inputs = {argument.name: argument.example for argument in program.arguments if argument.role == "input"}
    return Imported(module, context, _weights(model, program), inputs, reference=True)


def import_program(spec: str, options: ImportOptions) -> Imported:
    """Import what a MODEL argument names; see `jogak.ingress.model.load_model` for the forms, and `.onnx` and `.mlir` files.

    Raises:
        JogakError: the model does not exist or is malformed, cannot be traced, or uses an op that cannot be lowered.
    """
    return import_model(load_model(spec, options), options)
