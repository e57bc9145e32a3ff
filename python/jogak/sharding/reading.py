"""From a module to the plain-data `Graph`, and which values every device can make for itself."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from torch_mlir import ir

from jogak.cost.kernel import Arithmetic
from jogak.ir.diagnostics import fail, source_location
from jogak.ir.fingerprint import fingerprint
from jogak.ir.structured import (
    arithmetic_of,
    element_of,
    is_tensor,
    is_view,
    region_arithmetic,
    region_ops,
    region_values,
    shape_of,
)
from jogak.plugin import RuleFunction
from jogak.sharding.graph import Graph, Node
from jogak.sharding.rule import OpShardingRule
from jogak.sharding.rules import rule_of, tensor_operands
from jogak.sharding.rules.linearity import Linearity, linearity

MICRO_BATCH = "jogak.micro_batch"
"""On an op of a micro-batch: number of the micro-batch, and a number that its counterparts in the others have, too."""


def is_free(value: ir.Value) -> bool:
    """Whether every device makes its part of this value for itself.

    So it is with an empty tensor, a constant, a constant fill, and what is computed from positions alone.
    """
    if isinstance(value, ir.BlockArgument):
        return False
    op = value.owner
    if op.name == "tensor.empty":
        return True
    if op.name == "arith.constant":
        return is_tensor(value)
    if op.name == "linalg.fill":
        scalar = op.operands[0]
        constant = not isinstance(scalar, ir.BlockArgument) and scalar.owner.name == "arith.constant"
        return constant and is_free(op.operands[1])
    return is_positional(op)


def is_positional(op: ir.Operation) -> bool:
    """Whether an op computes a tensor from its indices and constants alone: an iota, a mask, an exchange matrix.

    One of which a sharding is asked is a node like others.
    """
    if op.name != "linalg.generic" or len(op.operands) != 1 or not is_free(op.operands[0]):
        return False
    if any(str(name).startswith("jogak.") for name in op.attributes):
        return False
    parallel = all("parallel" in str(kind) for kind in op.attributes["iterator_types"])
    maps = [ir.AffineMapAttr(attribute).value for attribute in op.attributes["indexing_maps"]]
    block = op.regions[0].blocks[0]
    unread = not list(block.arguments[0].uses)
    plain = maps[0] == ir.AffineMap.get_identity(maps[0].n_dims, op.context)
    if not (parallel and unread and plain):
        return False
    return all(_is_scalar_constant_or_inside(value, op) for value in region_values(op))


def _is_scalar_constant_or_inside(value: ir.Value, op: ir.Operation) -> bool:
    if isinstance(value, ir.BlockArgument):
        return bool(value.owner == op.regions[0].blocks[0])
    inside = bool(value.owner.operation.parent == op)
    return inside or (value.owner.name == "arith.constant" and not is_tensor(value))


@dataclass(frozen=True)
class Analysis:
    """What an op says about itself alone.

    Attributes:
        rule: how its tensors share factors.
        linear: the partial sums that it can take.
        flops: arithmetic operations of the whole op.
        arithmetic: what one iteration does.
        view: whether its result is bytes of its operand.
        tensors: which of its operands are tensors.
        initial: the tensor operands that it reads as initial values of results, each with the number of the result.
        looks: whether its region counts iterations or reads tensors by index.
    """

    rule: OpShardingRule
    linear: Linearity
    flops: float
    arithmetic: Arithmetic
    view: bool
    tensors: tuple[int, ...]
    initial: tuple[tuple[int, int], ...]
    looks: bool


@dataclass
class Reading:
    """A graph beside the module that it was read from.

    Attributes:
        graph: the plain data.
        ops: for each node its op.
        read: for each node the tensors that its op reads, in the order of its rule.
        analyses: for each node what its op says about itself.
        values: MLIR value to value number.
        rules, shared: each rule and each analysis once; ops of repeated layers share them.
        known: fingerprints that were met, and what they mean.
        types: shape and element type of each tensor type.
    """

    graph: Graph = field(default_factory=Graph)
    ops: list[ir.Operation] = field(default_factory=list)
    read: list[Sequence[ir.Value]] = field(default_factory=list)
    analyses: list[Analysis] = field(default_factory=list)
    values: dict[ir.Value, int] = field(default_factory=dict)
    rules: dict[OpShardingRule, OpShardingRule] = field(default_factory=dict)
    shared: dict[Analysis, Analysis] = field(default_factory=dict)
    known: dict[Hashable, Analysis] = field(default_factory=dict)
    types: dict[ir.Type, tuple[tuple[int, ...], str]] = field(default_factory=dict)


def read_graph(function: ir.Operation, plugins: Mapping[str, RuleFunction]) -> Reading:
    """Read `@main`. Ops without a tensor result (scalar constants, index arithmetic) are not nodes.

    Raises:
        PassFailed: a value has a dynamic dimension.
    """
    reading = Reading()
    graph = reading.graph
    block = function.regions[0].blocks[0]
    names = argument_names(function)
    for argument, name in zip(block.arguments, names, strict=True):
        reading.values[argument] = graph.add_value(shape_of(argument), element_of(argument), name)
    graph.arguments = tuple(reading.values[argument] for argument in block.arguments)
    for view in block.operations:
        op = view.operation
        if op.name == "func.return":
            graph.results = tuple(reading.values.get(operand) for operand in op.operands)
        elif any(is_tensor(result) for result in op.results) and not is_free(op.results[0]):
            _add_node(reading, op, plugins)
    graph.updates = update_positions(function)
    return reading


def _add_node(reading: Reading, op: ir.Operation, plugins: Mapping[str, RuleFunction]) -> None:
    graph = reading.graph
    location = source_location(op.location)
    index = len(graph.nodes)
    analysis, read = _analyse(reading, op, plugins)
    operands = tuple([reading.values.get(value) for value in read])
    results = []
    for result in op.results:
        if is_tensor(result):
            value = graph.add_value(*_described(reading, op, result), location.scope, index)
            reading.values[result] = value
            results.append(value)
    linear = analysis.linear
    if any(operands[position] is None for position in linear.through):
        linear = Linearity()  # what every device makes for itself is no summand
    node = Node(
        index,
        op.name,
        analysis.rule,
        operands,
        tuple(results),
        str(location),
        analysis.flops,
        linear.through,
        linear.sums,
        analysis.arithmetic,
        _part(op),
        analysis.view,
    )
    graph.nodes.append(node)
    reading.ops.append(op)
    reading.read.append(read)
    reading.analyses.append(analysis)


def _described(reading: Reading, op: ir.Operation, result: ir.Value) -> tuple[tuple[int, ...], str]:
    """Shape and element type of a result."""
    type_ = result.type
    if type_ not in reading.types:
        _require_static(op, result)
        reading.types[type_] = shape_of(result), element_of(result)
    return reading.types[type_]


def _analyse(
    reading: Reading, op: ir.Operation, plugins: Mapping[str, RuleFunction]
) -> tuple[Analysis, Sequence[ir.Value]]:
    """What an op says about itself, and the tensors that it reads in the order of its rule."""
    found = fingerprint(op)
    if found is None:
        return _shared(reading, analysis_of(op, plugins)), tensor_operands(op)
    if found.key not in reading.known:
        reading.known[found.key] = _shared(reading, analysis_of(op, plugins))
    analysis = reading.known[found.key]
    operands = op.operands
    return analysis, [*(operands[number] for number in analysis.tensors), *found.captured]


def analysis_of(op: ir.Operation, plugins: Mapping[str, RuleFunction]) -> Analysis:
    """Read it from an op."""
    rule = rule_of(op, plugins)
    tensors = tuple(number for number, operand in enumerate(op.operands) if is_tensor(operand))
    return Analysis(
        rule,
        linearity(op),
        _flops(op, rule),
        arithmetic_of(op),
        is_view(op),
        tensors,
        tuple(_initial(op, len(tensors))),
        any(inner.name in ("linalg.index", "tensor.extract") for inner in region_ops(op)),
    )


def _initial(op: ir.Operation, tensors: int) -> Iterator[tuple[int, int]]:
    """Tensor operands that initialize a result, and the number of the result; none that the op overwrites."""
    if op.name in ("linalg.generic", "tm_tensor.scatter"):
        count = len(op.results)
        for number, value in enumerate(list(op.regions[0].blocks[0].arguments)[-count:]):
            if list(value.uses):
                yield tensors - count + number, number


def _shared(reading: Reading, analysis: Analysis) -> Analysis:
    analysis = replace(analysis, rule=reading.rules.setdefault(analysis.rule, analysis.rule))
    return reading.shared.setdefault(analysis, analysis)


def _part(op: ir.Operation) -> tuple[int, int] | None:
    if MICRO_BATCH not in op.attributes:
        return None
    turn, number = ir.DenseI64ArrayAttr(op.attributes[MICRO_BATCH])
    return turn, number


def _require_static(op: ir.Operation, value: ir.Value) -> None:
    if not value.type.has_static_shape:
        fail(op, f"{op.name} has a result of dynamic shape: {value.type}", hint="give every dimension a size")


def _flops(op: ir.Operation, rule: OpShardingRule) -> float:
    """Arithmetic operations of a `linalg.generic`, whose loops are the first factors of its rule."""
    if op.name != "linalg.generic":
        return 0.0
    loops = rule.factors[: len(op.attributes["iterator_types"])]
    return float(region_arithmetic(op) * prod(max(loop.size, 1) for loop in loops))


def argument_names(function: ir.Operation) -> list[str]:
    """`jogak.name` of every argument; `arg0`, … where there is none."""
    return [
        str(ir.StringAttr(attributes["jogak.name"]).value) if "jogak.name" in attributes else f"arg{number}"
        for number, attributes in enumerate(argument_attributes(function))
    ]


def argument_attributes(function: ir.Operation) -> list[ir.DictAttr]:
    """The attribute dictionary of every argument."""
    count = len(function.regions[0].blocks[0].arguments)
    if "arg_attrs" not in function.attributes:
        return [ir.DictAttr.get({}, function.context)] * count
    return [ir.DictAttr(attributes) for attributes in ir.ArrayAttr(function.attributes["arg_attrs"])]


def result_attributes(function: ir.Operation) -> list[ir.DictAttr]:
    """The attribute dictionary of every result."""
    count = len(ir.FunctionType(ir.TypeAttr(function.attributes["function_type"]).value).results)
    if "res_attrs" not in function.attributes:
        return [ir.DictAttr.get({}, function.context)] * count
    return [ir.DictAttr(attributes) for attributes in ir.ArrayAttr(function.attributes["res_attrs"])]


def update_positions(function: ir.Operation) -> dict[int, int]:
    """Result position to the position of the argument that it replaces (`jogak.updates`)."""
    return {
        position: int(ir.IntegerAttr(attributes["jogak.updates"]).value)
        for position, attributes in enumerate(result_attributes(function))
        if "jogak.updates" in attributes
    }
