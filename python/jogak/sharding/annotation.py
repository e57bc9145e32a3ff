"""Shardings in the IR: the `jogak.sharding` attributes of arguments, ops and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch_mlir import ir

from jogak.errors import JogakError
from jogak.ir.diagnostics import fail, source_location
from jogak.ir.structured import is_tensor, shape_of
from jogak.sharding.constraints import Argument, Seed
from jogak.sharding.mesh import Mesh
from jogak.sharding.reading import Reading, argument_attributes, argument_names, result_attributes
from jogak.sharding.rule import OpShardingRule
from jogak.sharding.sharding import Sharding, SpecPattern
from jogak.sharding.strategy import Strategy

SHARDING = "jogak.sharding"
FACTORS = "jogak.factors"
CONSTRAINT = "jogak.constraint"
SOURCE = "jogak.constraint_source"


def read_arguments(function: ir.Operation) -> list[Argument]:
    """Names, roles and shapes of `@main`'s arguments, for constraints to match."""
    arguments = []
    names = argument_names(function)
    block = function.regions[0].blocks[0]
    for value, name, attributes in zip(block.arguments, names, argument_attributes(function), strict=True):
        role = ir.StringAttr(attributes["jogak.role"]).value if "jogak.role" in attributes else "input"
        shape = shape_of(value)
        logical = shape
        if "jogak.logical_shape" in attributes:
            logical = tuple(ir.DenseI64ArrayAttr(attributes["jogak.logical_shape"]))
        arguments.append(Argument(name, role, shape, logical))
    return arguments


def write_constraints(function: ir.Operation, seeds: Mapping[int, Seed]) -> None:
    """Put resolved constraints on the arguments, where `jogak-propagate` and people read them."""
    count = len(function.regions[0].blocks[0].arguments)
    with function.context:
        added: list[dict[str, ir.Attribute]] = [{} for _ in range(count)]
        for position, seed in seeds.items():
            spec = SpecPattern(seed.dims, (), seed.priority)
            added[position] = {CONSTRAINT: ir.StringAttr.get(str(spec)), SOURCE: ir.StringAttr.get(seed.source)}
        extend_attributes(function, "arg_attrs", added)


def read_constraints(function: ir.Operation, reading: Reading, mesh: Mesh) -> list[Seed]:
    """The constraints in the IR: `jogak.constraint` on arguments and on ops (for their first result).

    Raises:
        PassFailed: one does not fit its value or the mesh.
    """
    seeds = []
    block = function.regions[0].blocks[0]
    for argument, attributes in zip(block.arguments, argument_attributes(function), strict=True):
        if CONSTRAINT in attributes:
            source = ir.StringAttr(attributes[SOURCE]).value if SOURCE in attributes else "constraint in the IR"
            seeds.append(_seed(function, attributes[CONSTRAINT], argument, source, reading, mesh))
    for op in reading.ops:
        if CONSTRAINT in op.attributes:
            source = f"constraint at {source_location(op.location)}"
            seeds.append(_seed(op, op.attributes[CONSTRAINT], op.results[0], source, reading, mesh))
    return seeds


def _seed(
    op: ir.Operation, attribute: ir.Attribute, value: ir.Value, source: str, reading: Reading, mesh: Mesh
) -> Seed:
    try:
        spec = SpecPattern.parse(str(ir.StringAttr(attribute).value)).check_constraint()
        spec.check(mesh)
        if spec.rank != len(shape_of(value)):
            raise JogakError(f"{spec} has {spec.rank} dimensions, the value has {len(shape_of(value))}")
        Sharding(tuple(dim.axes for dim in spec.dims)).local_shape(shape_of(value), mesh)
    except JogakError as error:
        fail(op, error.message, hint=error.hint)
    return Seed(reading.values[value], spec.dims, spec.priority, source)


def annotate(function: ir.Operation, reading: Reading, shardings: Sequence[Sharding]) -> None:
    """Write the sharding of every value: on the function's arguments and results, and on ops (an entry per result)."""
    with function.context:
        for op in reading.ops:
            texts = [str(shardings[reading.values[result]]) for result in op.results if is_tensor(result)]
            op.attributes[SHARDING] = ir.ArrayAttr.get([ir.StringAttr.get(text) for text in texts])
        block = function.regions[0].blocks[0]
        own = [str(shardings[reading.values[argument]]) for argument in block.arguments]
        extend_attributes(function, "arg_attrs", [{SHARDING: ir.StringAttr.get(text)} for text in own])
        returned = [
            reading.graph.arguments[reading.graph.updates[position]] if position in reading.graph.updates else value
            for position, value in enumerate(reading.graph.results)
        ]
        kept = [{SHARDING: ir.StringAttr.get(str(shardings[value]))} if value is not None else {} for value in returned]
        extend_attributes(function, "res_attrs", kept)


def extend_attributes(function: ir.Operation, kind: str, added: Sequence[Mapping[str, ir.Attribute]]) -> None:
    """Add entries to the attribute dictionaries of a function's arguments (`arg_attrs`) or results (`res_attrs`)."""
    present = argument_attributes(function) if kind == "arg_attrs" else result_attributes(function)
    merged = [
        ir.DictAttr.get({**{entry.name: entry.attr for entry in old}, **new})
        for old, new in zip(present, added, strict=True)
    ]
    function.attributes[kind] = ir.ArrayAttr.get(merged)


def read_shardings(function: ir.Operation, reading: Reading, mesh: Mesh) -> list[Sharding]:
    """The sharding of every value of the graph, from the annotations.

    Raises:
        PassFailed: an op has no annotation, or one that does not fit its result or the mesh.
    """
    found = [Sharding.replicated(len(value.shape)) for value in reading.graph.values]
    block = function.regions[0].blocks[0]
    for argument, attributes in zip(block.arguments, argument_attributes(function), strict=True):
        if SHARDING in attributes:
            text = ir.StringAttr(attributes[SHARDING]).value
            found[reading.values[argument]] = _parsed(function, text, argument, mesh)
            if found[reading.values[argument]].is_partial:
                fail(function, f"an argument cannot be a partial result: {text}", hint="leave out partial(...)")
    for op in reading.ops:
        if SHARDING not in op.attributes:
            fail(op, f"{op.name} has no sharding", hint="run jogak-propagate before this pass")
        results = [result for result in op.results if is_tensor(result)]
        texts = [ir.StringAttr(text).value for text in ir.ArrayAttr(op.attributes[SHARDING])]
        if len(texts) != len(results):
            fail(op, f"{len(texts)} shardings for {len(results)} results", hint="one entry for every tensor result")
        for result, text in zip(results, texts, strict=True):
            found[reading.values[result]] = _parsed(op, text, result, mesh)
    return found


def _parsed(op: ir.Operation, text: str, value: ir.Value, mesh: Mesh) -> Sharding:
    try:
        sharding = Sharding.parse(text)
        sharding.check(mesh)
        if sharding.rank != len(shape_of(value)):
            raise JogakError(f"{text} has {sharding.rank} dimensions, the value has {len(shape_of(value))}")
        sharding.local_shape(shape_of(value), mesh)
    except JogakError as error:
        fail(op, error.message, hint=error.hint)
    return sharding


def write_strategies(reading: Reading, strategies: Sequence[Strategy]) -> None:
    """Write on every op how it is done, for `jogak-partition` to follow."""
    for op, strategy in zip(reading.ops, strategies, strict=True):
        with op.context:
            op.attributes[FACTORS] = ir.StringAttr.get(str(strategy))


def read_strategy(op: ir.Operation, rule: OpShardingRule, mesh: Mesh) -> Strategy | None:
    """How an op is to be done; None where it does not say so.

    Raises:
        PassFailed: what it says does not fit the op or the mesh.
    """
    if FACTORS not in op.attributes:
        return None
    try:
        return Strategy.parse(str(ir.StringAttr(op.attributes[FACTORS]).value), rule, mesh)
    except JogakError as error:
        fail(op, error.message, hint=error.hint or "run jogak-search again, or remove jogak.factors")
