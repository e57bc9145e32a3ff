"""Whole models against PyTorch: one import and one reference for each, many meshes and shardings.

Used by the model tests and by `bench/equality.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch_mlir import ir

from jogak.cost.machine_file import DEFAULT_MACHINE, load_machine
from jogak.cost.model import Roofline
from jogak.ingress.importer import import_program
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ingress.reference import initial_values, run_reference
from jogak.ir.grid import declare_mesh, require_mesh
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipelines import NORMALIZE, PARTITION
from jogak.report.promise import promise
from jogak.runtime.compare import compare
from jogak.runtime.counts import CollectiveCounts, to_json
from jogak.runtime.program import load_program
from jogak.runtime.sharded import shard_value, unshard_value
from jogak.runtime.simulator import simulate
from jogak.runtime.types import Precision
from jogak.sharding.annotation import SHARDING, read_arguments, write_constraints
from jogak.sharding.constraints import Seed
from jogak.sharding.mesh import Mesh
from jogak.sharding.reading import argument_attributes, result_attributes, update_positions
from jogak.sharding.selection import Argument
from jogak.sharding.sharding import DimSpec, Sharding
from jogak.targets.distributed.rank.layout import logical, stored

STRATEGIES = ("data", "tensor", "mixed")
"""Data: inputs split by batch. Tensor: parameters split, in turn by their first and second dimension. Mixed: both."""


@dataclass(frozen=True)
class Case:
    """One model on one mesh.

    Attributes:
        model: MODEL argument.
        training: whether it is an AdamW step.
        mesh: `data=2,model=2`.
        strategy: one of `STRATEGIES`.
        autocast: mixed precision, or None.
    """

    model: str
    training: bool
    mesh: str
    strategy: str
    autocast: str | None = None

    def __str__(self) -> str:
        mode = "training" if self.training else "inference"
        return f"{self.model} {mode} {self.mesh} {self.strategy}{' ' + self.autocast if self.autocast else ''}"


@dataclass(frozen=True)
class Verdict:
    """How far a sharded run is from PyTorch.

    Attributes:
        worst: name of the result with the largest relative error.
        error: that error; of a program in bf16 what it is beyond PyTorch's own, see `jogak.runtime.compare`.
        exact_error: of a program in bf16 the largest error when both hold every float in f64; else `error`.
        promised: collectives by kind, as the compiler promised them.
        counted: the same as the simulator counted.
    """

    worst: str
    error: float
    exact_error: float
    promised: dict[str, Any]
    counted: dict[str, Any]


@dataclass(frozen=True)
class Prepared:
    """A model imported and normalized once, with the results that it should have.

    Attributes:
        module: the normalized program.
        values: each argument's whole value.
        exact: what PyTorch computes in f64.
        rounded: what PyTorch computes in the model's own types; None where those are f32.
    """

    module: ir.Module
    values: dict[str, Tensor]
    exact: Mapping[str, Tensor]
    rounded: Mapping[str, Tensor] | None = None


def options_of(training: bool, autocast: str | None) -> ImportOptions:
    """The options of a check: AdamW with weight decay for training."""
    optimizer = Optimizer("adamw", weight_decay=0.01) if training else None
    return ImportOptions(optimizer, None, "bf16" if autocast else None)


@lru_cache(maxsize=4)
def prepare(model: str, training: bool, autocast: str | None) -> Prepared:
    """Import and normalize a model, and find what its results should be."""
    options = options_of(training, autocast)
    module = import_program(model, options).module
    run_pipeline(module, NORMALIZE)
    values = initial_values(model, options)

    def reference(dtype: torch.dtype | None) -> dict[str, Tensor]:
        return run_reference(model, options, {name: value.clone() for name, value in values.items()}, dtype=dtype)

    return Prepared(module, values, reference(torch.float64), reference(None) if autocast else None)


def constrain(function: ir.Operation, mesh: Mesh, strategy: str) -> None:
    """Split inputs, parameters or both, wherever the sizes divide: nothing here knows the model."""
    half = len(mesh.axes) // 2 if strategy == "mixed" else 0
    input_axes = mesh.axes[: half or None] if strategy != "tensor" else ()
    parameter_axes = mesh.axes[half:] if strategy != "data" else ()
    seeds: list[Seed] = []
    turn = 0
    for number, argument in enumerate(read_arguments(function)):
        if argument.role == "input" and argument.shape:
            dims = [_fitting(argument.shape[0], input_axes, mesh), *((),) * (len(argument.shape) - 1)]
            seeds.append(_seed(number, dims))
        elif argument.role == "parameter" and len(argument.shape) > 1 and parameter_axes:
            seeds.append(_seed(number, _in_turn(argument, turn, parameter_axes, mesh)))
            turn += 1
    write_constraints(function, seeds)


def _seed(number: int, dims: list[tuple[str, ...]]) -> Seed:
    return Seed(number, tuple(DimSpec(axes, open=False) for axes in dims), 0, "test")


def _fitting(size: int, axes: tuple[str, ...], mesh: Mesh) -> tuple[str, ...]:
    taken: tuple[str, ...] = ()
    for axis in axes:
        if size % mesh.size((*taken, axis)) == 0:
            taken = (*taken, axis)
    return taken


def _in_turn(argument: Argument, turn: int, axes: tuple[str, ...], mesh: Mesh) -> list[tuple[str, ...]]:
    dims: list[tuple[str, ...]] = [()] * len(argument.shape)
    first = turn % 2
    for offset, axis in enumerate(axes):
        dim = (first + offset) % 2
        dims[dim] = _fitting(argument.shape[dim], (*dims[dim], axis), mesh)
    return dims


def check(case: Case) -> Verdict:
    """Partition, simulate every device and compare every result."""
    prepared = prepare(case.model, case.training, case.autocast)
    mesh = Mesh.parse(case.mesh)
    module = prepared.module.operation.clone()
    function = main_function(module).operation
    declare_mesh(module, mesh)
    constrain(function, mesh, case.strategy)
    return run_sharded(module, prepared, mesh, case.training, case.autocast)


PROPAGATE = "builtin.module(jogak-propagate)"


def run_sharded(
    module: ir.Module,
    prepared: Prepared,
    mesh: Mesh,
    training: bool,
    autocast: str | None,
    *,
    shard: str = PROPAGATE,
) -> Verdict:
    """Shard a program by the constraints in it, partition, simulate every device and compare every result.

    Args:
        shard: the pipeline that gives every value a sharding.
    """
    run_pipeline(module, shard)
    run_pipeline(module, PARTITION)
    mesh = require_mesh(module)  # with the sub-axes that it needs
    function = main_function(module).operation
    promised = promise(function, mesh, Roofline(load_machine(DEFAULT_MACHINE), mesh)).collectives
    whole = main_function(prepared.module).operation
    inputs = _pieces(whole, function, prepared.values, mesh)
    optimizer = options_of(training, autocast).optimizer

    def run(precision: Precision | None) -> tuple[dict[str, Tensor], CollectiveCounts]:
        result = simulate(load_program(module), mesh, inputs, precision=precision)
        return _results(whole, function, result.outputs, mesh), result.collectives

    got, counted = run("f64")
    found = compare(prepared.exact, got, prepared.values, optimizer, "f64")
    exact_error = max(each.relative for each in found.values())
    if prepared.rounded is not None and autocast is not None:
        got, counted = run(None)
        found = compare(prepared.rounded, got, prepared.values, optimizer, autocast, prepared.exact)
    worst = max(found, key=lambda name: found[name].relative)
    return Verdict(worst, found[worst].relative, exact_error, promised, to_json(counted))


def _pieces(
    whole: ir.Operation, function: ir.Operation, values: Mapping[str, Tensor], mesh: Mesh
) -> list[dict[str, Tensor]]:
    """What each device gets for each argument."""
    pieces: list[dict[str, Tensor]] = [{} for _ in range(mesh.devices)]
    for argument, attributes in zip(read_arguments(whole), argument_attributes(function), strict=True):
        sharding = Sharding.parse(str(ir.StringAttr(attributes[SHARDING]).value)).on(mesh)
        value = stored(values[argument.name], argument.layout())
        for device, piece in enumerate(shard_value(value, sharding, mesh)):
            pieces[device][argument.name] = piece
    return pieces


def _results(
    whole: ir.Operation, function: ir.Operation, outputs: Sequence[Sequence[Tensor]], mesh: Mesh
) -> dict[str, Tensor]:
    """Every result of the program, whole."""
    arguments = argument_attributes(function)
    described = read_arguments(whole)
    updates = update_positions(function)
    types = ir.FunctionType(ir.TypeAttr(whole.attributes["function_type"]).value).results
    found: dict[str, Tensor] = {}
    for number, attributes in enumerate(result_attributes(function)):
        source = arguments[updates[number]] if number in updates else attributes
        sharding = Sharding.parse(str(ir.StringAttr(source[SHARDING]).value)).on(mesh).complete()
        shape = ir.RankedTensorType(types[number]).shape
        value, _ = unshard_value([each[number] for each in outputs], sharding, mesh, shape=shape)
        if number in updates:
            value = logical(value, described[updates[number]].layout())
        found[str(ir.StringAttr(attributes["jogak.name"]).value)] = value
    return found
