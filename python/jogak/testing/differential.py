"""Is the partitioned program equal to the whole one? One random case: program, mesh, shardings, and the comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

import torch
from torch_mlir import ir

from jogak.ir.context import new_context, parse_module
from jogak.ir.grid import declare_mesh, require_mesh
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.permute import is_permute
from jogak.ir.pipelines import PARTITION
from jogak.partition.optimize.collectives import cause_of
from jogak.partition.partition import partition
from jogak.runtime.program import Program, load_program
from jogak.runtime.sharded import shard_value, unshard_value
from jogak.runtime.simulator import execute, simulate
from jogak.runtime.types import dtype_of
from jogak.sharding.annotation import CONSTRAINT, SHARDING, annotate, extend_attributes
from jogak.sharding.graph import Value
from jogak.sharding.mesh import Mesh
from jogak.sharding.padding import splits
from jogak.sharding.reading import Reading, argument_attributes, read_graph, result_attributes
from jogak.sharding.sharding import Combiner, DimSpec, Sharding, SpecPattern
from jogak.testing.whim import WhimCost

MESHES = ((2,), (4,), (8,), (3,), (6,), (2, 2), (2, 4), (4, 2), (2, 3), (1, 4), (2, 1), (2, 2, 2))
TOLERANCE = 1e-6
AFTER_PARTITION = PARTITION.replace("jogak-partition,", "")
"""What a compilation does with the program of one device: it optimizes the collectives."""
MOST_VALUE = 4


@dataclass(frozen=True)
class Case:
    """One test.

    Attributes:
        program: the whole program, without a mesh.
        annotated: the same with a mesh and constraints, or with a sharding on every value.
        mesh: the mesh.
        seed: of the argument values.
        whim: seed of random prices that partition decides by; None: the prices of a machine.
        optimized: whether the collectives are optimized as a compilation does it.
    """

    program: str
    annotated: str
    mesh: Mesh
    seed: int
    whim: int | None = None
    optimized: bool = False


def case_of(program: str, mesh: Mesh, seed: int = 0) -> Case:
    """A program that holds its constraints, on a mesh."""
    module = parse_module(program, new_context())
    declare_mesh(module, mesh)
    return Case(program, str(module), mesh, seed)


def random_case(random: Random, program: str) -> Case:
    """A program on a random mesh, with constraints for propagation or with an arbitrary sharding everywhere."""
    shape = random.choice(MESHES)
    mesh = Mesh(("a", "b", "c")[: len(shape)], shape)
    if random.random() < 0.15:
        mesh = mesh.cut({axis: [random.choice((2, size // 2))] for axis, size in mesh.sizes.items() if size % 4 == 0})
    module = parse_module(program, new_context())
    declare_mesh(module, mesh)
    function = main_function(module).operation
    reading = read_graph(function, {})
    if random.random() < 0.5:
        _constrain(function, reading, mesh, random)
    else:
        annotate(function, reading, [random_sharding(value, mesh, random) for value in reading.graph.values], mesh)
    whim = random.randrange(2**31) if random.random() < 0.7 else None
    return Case(program, str(module), mesh, random.randrange(2**31), whim, random.random() < 0.5)


def random_sharding(value: Value, mesh: Mesh, random: Random) -> Sharding:
    """Any placement that the sizes allow, by chance with padding.

    A value that an op makes may stay a partial result.
    """
    dims: list[tuple[str, ...]] = [()] * len(value.shape)
    left: list[str] = []
    for axis in random.sample(mesh.axes, len(mesh.axes)):
        fitting = [d for d, size in enumerate(value.shape) if splits(size, (*dims[d], axis), mesh)]
        if fitting and random.random() < 0.6:
            dim = random.choice(fitting)
            dims[dim] = (*dims[dim], axis)
        elif value.producer is not None and random.random() < 0.2:
            left.append(axis)
    return Sharding(tuple(dims)).with_partial({axis: random.choice(list(Combiner)) for axis in left})


def _constrain(function: ir.Operation, reading: Reading, mesh: Mesh, random: Random) -> None:
    """Random constraints on some arguments and ops."""

    def spec(value: ir.Value) -> ir.Attribute:
        sharding = random_sharding(reading.graph.values[reading.values[value]], mesh, random)
        dims = tuple(DimSpec(axes, random.random() < 0.5) for axes in sharding.dims)
        return ir.StringAttr.get(str(SpecPattern(dims, (), random.choice((0, 0, 1, 2)))))

    with function.context:
        arguments = function.regions[0].blocks[0].arguments
        given = [{CONSTRAINT: spec(argument)} if random.random() < 0.5 else {} for argument in arguments]
        extend_attributes(function, "arg_attrs", given)
        for op in reading.ops:
            if random.random() < 0.15:
                op.attributes[CONSTRAINT] = spec(op.results[0])


@dataclass(frozen=True)
class Mismatch:
    """What went wrong in a case: the results that differ, or the error."""

    message: str


def check_case(case: Case, told: Callable[[str], None] = lambda mechanism: None) -> Mismatch | None:
    """Run a case on one device and on all; None when they agree.

    Args:
        told: called with each mechanism of partition that the case reaches.
    """
    whole = parse_module(case.program, new_context())
    inputs = _inputs(load_program(whole), case.seed)
    expected = execute(whole, inputs, precision="f64")
    module = partitioned(case)
    for mechanism in sorted(mechanisms(module)):
        told(mechanism)
    outputs = _run(module, require_mesh(module), inputs, {name: tuple(value.shape) for name, value in expected.items()})
    wrong = [name for name, value in expected.items() if not _equal(value, outputs[name])]
    return Mismatch(f"{', '.join(wrong)} differ") if wrong else None


def partitioned(case: Case) -> ir.Module:
    """The program of one device."""
    module = parse_module(case.annotated, new_context())
    function = main_function(module).operation
    annotated = [SHARDING in view.operation.attributes for view in function.regions[0].blocks[0].operations]
    annotated += [SHARDING in attributes for attributes in argument_attributes(function)]
    if not any(annotated):
        run_pipeline(module, "builtin.module(jogak-propagate)")
    if case.whim is None:
        run_pipeline(module, "builtin.module(jogak-partition)")
    else:
        mesh = require_mesh(module)  # with the sub-axes that propagation needs
        partition(module, function, mesh, {}, WhimCost(mesh, case.whim))
        module.operation.verify()
    if case.optimized:
        run_pipeline(module, AFTER_PARTITION)
    return module


def mechanisms(module: ir.Module) -> set[str]:
    """What of partition a program of one device shows."""
    found: set[str] = set()
    if require_mesh(module) != require_mesh(module).whole:
        found.add("sub-axes")
    exchanged: Counter[ir.Value] = Counter()
    for view in main_function(module).operation.regions[0].blocks[0].operations:
        op = view.operation
        dialect, _, kind = op.name.partition(".")
        kind = "permute" if is_permute(op) else kind
        if dialect == "shard" and kind not in ("process_multi_index", "send"):
            found.add(kind)
            found |= {f"{kind} by several axes"} if len(op.attributes.get("grid_axes", ())) > 1 else set()
        if "in one bucket" in cause_of(op):
            found.add("bucket")
        if kind == "update_halo":
            exchanged[op.results[0]] = len(list(op.results[0].uses))
    if any(count > 1 for count in exchanged.values()):
        found.add("several windows on one exchange")
    return found


def _inputs(program: Program, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs: dict[str, torch.Tensor] = {}
    for argument in program.arguments:
        type_ = argument.type
        if type_.element == "f32":
            value = torch.randn(type_.shape, generator=generator, dtype=torch.float64)
            inputs[argument.name] = value.clamp(-MOST_VALUE, MOST_VALUE).float()
        else:
            kind = dtype_of(type_.element)
            inputs[argument.name] = torch.randint(-MOST_VALUE, MOST_VALUE + 1, type_.shape, generator=generator).to(
                kind
            )
    return inputs


def _run(
    module: ir.Module, mesh: Mesh, inputs: Mapping[str, torch.Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, torch.Tensor]:
    function = main_function(module).operation
    program = load_program(module)
    local: list[dict[str, torch.Tensor]] = [{} for _ in range(mesh.devices)]
    for argument, attributes in zip(program.arguments, argument_attributes(function), strict=True):
        parts = shard_value(inputs[argument.name], Sharding.parse(attributes[SHARDING].value).on(mesh), mesh)
        for device, part in enumerate(parts):
            local[device][argument.name] = part
    outputs = simulate(program, mesh, local, precision="f64").outputs
    found: dict[str, torch.Tensor] = {}
    for number, (result, attributes) in enumerate(zip(program.results, result_attributes(function), strict=True)):
        sharding = Sharding.parse(attributes[SHARDING].value).on(mesh)
        parts = [device[number] for device in outputs]
        shape = shapes[result.name]
        found[result.name] = unshard_value(parts, sharding, mesh, shape=shape, tolerance=TOLERANCE)[0]
    return found


def _equal(expected: torch.Tensor, found: torch.Tensor) -> bool:
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return False
    if not expected.is_floating_point():
        return bool(torch.equal(expected, found))
    scale = float(expected.abs().nan_to_num(posinf=0.0).max()) if expected.numel() else 0.0
    return bool(torch.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True))
