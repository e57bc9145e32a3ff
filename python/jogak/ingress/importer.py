"""The front door of ingress: from what the user names to one `@main` in linalg-on-tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torch_mlir import ir

from jogak.errors import JogakError
from jogak.ingress.contract import describe_arguments, describe_results
from jogak.ingress.lower import lower
from jogak.ingress.mlir_file import example_inputs, read_mlir
from jogak.ingress.model import Model, is_program_file, load_model, require_file
from jogak.ingress.onnx_file import read_onnx
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
    describe_arguments(module, [(each.name, each.role) for each in program.arguments])
    numbers = {argument.name: number for number, argument in enumerate(program.arguments)}
    describe_results(module, [(r.name, r.role, numbers[r.updates] if r.updates else None) for r in program.results])
    inputs = {argument.name: argument.example for argument in program.arguments if argument.role == "input"}
    return Imported(module, context, _weights(model, program), inputs, reference=True)


def import_program(spec: str, options: ImportOptions) -> Imported:
    """Import what a MODEL argument names: a form of `jogak.ingress.model.load_model`, or an `.onnx` or `.mlir` file.

    Raises:
        JogakError: the model does not exist or is malformed, cannot be traced, or uses an op that cannot be lowered.
    """
    if is_program_file(spec):
        return _import_file(require_file(Path(spec)), options)
    return import_model(load_model(spec, options), options)


def _import_file(path: Path, options: ImportOptions) -> Imported:
    """A program that is no PyTorch model any more: taken as it is."""
    if options.training:
        raise JogakError(
            "a training step needs a PyTorch model: this file holds a finished program",
            where=str(path),
            hint="give a .pt2 file or file.py:callable, or compile for inference",
        )
    context = new_context()
    if path.suffix == ".mlir":
        module, weights = read_mlir(path, context), None
    else:
        module, weights = read_onnx(path, context)
    return Imported(module, context, weights, example_inputs(module), reference=False)
