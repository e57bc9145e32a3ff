"""Between Jogak's annotations and the ops of MLIR's own `shard` dialect: `shard.sharding` and `shard.shard`.

In that dialect a sharding is a value, and `shard.shard` says how a tensor lies where it is made, or, with
`annotate_for_users`, how a user wants it. Upstream's `shard-partition` asks for all of it: every tensor operand and
every result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from torch_mlir import ir
from torch_mlir.dialects import shard

from jogak.cost.model import CostModel
from jogak.ir.diagnostics import fail
from jogak.ir.grid import GRID, axis_array, axis_lists
from jogak.ir.structured import is_tensor, shape_of
from jogak.sharding.annotation import (
    CONSTRAINT,
    FACTORS,
    SHARDING,
    SOURCE,
    annotate,
    extend_attributes,
    read_strategy,
    texts_attribute,
)
from jogak.sharding.assignment import assign
from jogak.sharding.graph import Node
from jogak.sharding.mesh import Mesh
from jogak.sharding.reading import Reading, argument_attributes, result_attributes
from jogak.sharding.sharding import Sharding
from jogak.sharding.strategy import Strategy

OURS = (SHARDING, CONSTRAINT, SOURCE, FACTORS)


def split_axes(sharding: Sharding, mesh: Mesh) -> ir.Attribute:
    """`#shard<axisarray[[0], []]>`: for each dimension the numbers of its axes; a scalar has one empty list."""
    numbers = [[mesh.index(axis) for axis in axes] for axes in sharding.dims] or [[]]
    return axis_array(numbers)


def sharding_of(op: ir.Operation, rank: int, mesh: Mesh) -> Sharding:
    """What a `shard.sharding` says of a tensor with so many dimensions.

    Raises:
        PassFailed: it has halos or sharded offsets, or an axis that the grid lacks.
    """
    for name in ("static_halo_sizes", "static_sharded_dims_offsets"):
        if name in op.attributes and len(op.attributes[name]):
            fail(op, "a sharding with halos or offsets of its own", hint="only split axes can be taken over")
    said = axis_lists(op.attributes["split_axes"])
    dims = list(said)
    while len(dims) > rank and not dims[-1]:
        dims.pop()
    if len(dims) > rank or any(number >= len(mesh.axes) for dim in dims for number in dim):
        fail(op, f"{said} fits neither a tensor of {rank} dimensions nor the mesh {mesh}")
    split = tuple(tuple(mesh.axes[number] for number in dim) for dim in dims)
    return Sharding((*split, *((),) * (rank - len(split))))


@dataclass
class ToUpstream:
    """Writes the shardings of one program as ops.

    Attributes:
        shardings: for each value of the graph how it lies.
    """

    function: ir.Operation
    reading: Reading
    shardings: Sequence[Sharding]
    mesh: Mesh
    cost: CostModel
    _known: dict[tuple[tuple[str, ...], ...], ir.Value] = field(default_factory=dict)
    _uses: dict[ir.Value, list[tuple[ir.Operation, int, Sharding]]] = field(default_factory=dict)

    def run(self) -> None:
        """Annotate every tensor, then drop our attributes."""
        block = self.function.regions[0].blocks[0]
        operations = [view.operation for view in block.operations]
        nodes = dict(zip(self.reading.ops, self.reading.graph.nodes, strict=True))
        for op in operations:
            for number, placed in self._wanted(op, nodes.get(op)).items():
                self._uses.setdefault(op.operands[number], []).append((op, number, placed))
        self._top = operations[0]
        for argument in block.arguments:
            if is_tensor(argument):
                self._annotate(argument, operations[0])
        for op, following in pairwise(operations):
            for result in op.results:
                if is_tensor(result):
                    self._annotate(result, following)
        _drop(self.function, operations)

    def _declared(self, value: ir.Value) -> Sharding:
        return self.shardings[self.reading.values[value]].complete()

    def _wanted(self, op: ir.Operation, node: Node | None) -> dict[int, Sharding]:
        """How an op needs each of its tensor operands, by operand number."""
        tensors = [number for number, operand in enumerate(op.operands) if is_tensor(operand)]
        if op.name == "func.return":
            return {number: self._returned(number, op.operands[number]) for number in tensors}
        if node is None:
            return {number: Sharding.replicated(len(shape_of(op.operands[number]))) for number in tensors}
        strategy = read_strategy(op, node.rule, self.mesh) or self._cheapest(node)
        return {number: strategy.operand(node.rule, at, ()).complete() for at, number in enumerate(tensors)}

    def _returned(self, position: int, value: ir.Value) -> Sharding:
        graph = self.reading.graph
        if position in graph.updates:
            return self.shardings[graph.arguments[graph.updates[position]]]
        return self._declared(value) if value in self.reading.values else Sharding.replicated(len(shape_of(value)))

    def _cheapest(self, node: Node) -> Strategy:
        assignment = assign(node, self.reading.graph, self.shardings, self.mesh, self.cost).assignment
        return Strategy(tuple(assignment.get(number, ()) for number in range(len(node.rule.factors))))

    def _annotate(self, value: ir.Value, following: ir.Operation) -> None:
        """`shard.shard` behind the op that makes a value, and one more in front of each use.

        What every device makes for itself lies as each user wants it, so it gets one for each user.
        """
        uses = self._uses.get(value, [])
        free = value not in self.reading.values
        made: ir.Value | None = None
        for op, number, placed in uses:
            if made is None or free:
                made = self._shard(value, placed if free else self._declared(value), following)
            op.operands[number] = self._shard(made, placed, op, users=True)
        if not uses and not free:
            self._shard(value, self._declared(value), following)

    def _shard(self, value: ir.Value, placed: Sharding, before: ir.Operation, *, users: bool = False) -> ir.Value:
        with ir.InsertionPoint(before), before.location:
            return shard.ShardOp(value, self._sharding(placed), annotate_for_users=users).result

    def _sharding(self, placed: Sharding) -> ir.Value:
        if placed.dims not in self._known:
            with ir.InsertionPoint(self._top), ir.Location.unknown():
                made = shard.ShardingOp(ir.FlatSymbolRefAttr.get(GRID), split_axes(placed, self.mesh), [], [])
            self._known[placed.dims] = made.result
        return self._known[placed.dims]


def _drop(function: ir.Operation, operations: Sequence[ir.Operation]) -> None:
    """Our annotations, whose meaning is in the ops now."""
    for op in operations:
        for name in OURS:
            if name in op.attributes:
                del op.attributes[name]
    for kind, present in (("arg_attrs", argument_attributes(function)), ("res_attrs", result_attributes(function))):
        kept = [ir.DictAttr.get({e.name: e.attr for e in each if e.name not in OURS}) for each in present]
        if kept:
            function.attributes[kind] = ir.ArrayAttr.get(kept)


def take_shardings(function: ir.Operation, mesh: Mesh) -> dict[ir.Value, Sharding]:
    """How each value lies by its `shard.shard`, which are removed together with those for users.

    Of a value without one of its own, the first that a user wants.

    Raises:
        PassFailed: a sharding cannot be taken over.
    """
    own: dict[ir.Value, Sharding] = {}
    wanted: dict[ir.Value, Sharding] = {}
    ops = [view.operation for view in function.regions[0].blocks[0].operations]
    sources = [op for op in ops if op.name in ("shard.sharding", "shard.get_sharding")]
    for op in [each for each in ops if each.name == "shard.shard"]:
        value = op.operands[0]
        said = op.operands[1].owner
        if isinstance(said, ir.Block) or said.name != "shard.sharding":
            fail(op, "a sharding that is no shard.sharding", hint="only one that is written out can be taken over")
        placed = sharding_of(said, len(shape_of(value)), mesh)
        (wanted if "annotate_for_users" in op.attributes else own).setdefault(value, placed)
        op.results[0].replace_all_uses_with(value)
        op.erase()
    for op in sources:
        op.erase()
    return {**wanted, **own}


def write_shardings(function: ir.Operation, reading: Reading, found: dict[ir.Value, Sharding], mesh: Mesh) -> None:
    """`jogak.sharding` where every value has one, as after propagation; `jogak.constraint` where some have one."""
    values = reading.values
    if all(value in found for value in values):
        shardings = [Sharding.replicated(len(value.shape)) for value in reading.graph.values]
        for value, number in values.items():
            shardings[number] = found[value]
        annotate(function, reading, shardings, mesh)
        return
    with function.context:
        block = function.regions[0].blocks[0]
        given = [{CONSTRAINT: ir.StringAttr.get(str(found[a]))} if a in found else {} for a in block.arguments]
        extend_attributes(function, "arg_attrs", given)
        for op in reading.ops:
            texts = [
                f"#{number} {found[result]}" if number else str(found[result])
                for number, result in enumerate(op.results)
                if result in found
            ]
            if texts:
                op.attributes[CONSTRAINT] = texts_attribute(texts)
