"""From the annotated whole program to the program of one device.

One walk in program order. For every op the cheapest assignment of mesh axes to its factors is taken; operands are
brought to the shardings that it needs, by collectives in front of the op; the op itself is changed in place to local
shapes; partial results are combined behind it. A value that was brought to a sharding once is kept for later users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch_mlir import ir
from torch_mlir.dialects import arith, linalg, tensor

from jogak.cost.element import element_size
from jogak.cost.model import CostModel
from jogak.ir.build import is_identity, tensor_type
from jogak.ir.grid import declare_mesh
from jogak.ir.structured import element_of, is_tensor, region_ops, shape_of
from jogak.partition.emit import Emitter, FinerGrid
from jogak.partition.halo import Windows
from jogak.partition.local import count_once, localize
from jogak.partition.plan import Local, Plan, Planner
from jogak.partition.reads import Pad, Read, margins_of, through_pad
from jogak.partition.split import Split
from jogak.plugin import RuleFunction
from jogak.sharding.annotation import (
    CONSTRAINT,
    FACTORS,
    SHARDING,
    SOURCE,
    extend_attributes,
    read_shardings,
)
from jogak.sharding.graph import Node
from jogak.sharding.mesh import Mesh
from jogak.sharding.projection import project
from jogak.sharding.reading import Reading, is_free, read_graph
from jogak.sharding.reshard import route
from jogak.sharding.rules.linalg import generic_rule
from jogak.sharding.sharding import Combiner, Sharding
from jogak.sharding.shortcuts import matched
from jogak.sharding.steps import Step, StepKind


def partition(
    module: ir.Module, function: ir.Operation, mesh: Mesh, plugins: Mapping[str, RuleFunction], cost: CostModel
) -> None:
    """Rewrite `@main` to the program of one device.

    Where a value moves by sub-axes the grid is taken apart so far that it has them.

    Raises:
        PassFailed: an op has no sharding annotation, or one that does not fit.
    """
    if matched(mesh) == mesh:  # no value moves by sub-axes
        _partition(function, mesh, mesh, plugins, cost)
        return
    grid = mesh
    while True:  # until the grid has every sub-axis that a collective needs
        with module.context, ir.InsertionPoint(function):
            trial = function.clone()
        try:
            _partition(trial, mesh, grid, plugins, cost)
        except FinerGrid as finer:
            grid = finer.mesh
            trial.erase()
            continue
        function.erase()
        if grid != mesh:
            declare_mesh(module, grid)
        return


def _partition(
    function: ir.Operation, mesh: Mesh, grid: Mesh, plugins: Mapping[str, RuleFunction], cost: CostModel
) -> None:
    reading = read_graph(function, plugins)
    shardings = [_without_single(sharding, mesh) for sharding in read_shardings(function, reading, mesh)]
    with function.context, ir.Location.unknown():
        emitter = Emitter(function.regions[0].blocks[0], grid)
        _Partitioner(function, mesh, reading, shardings, cost, emitter).run()


def _without_single(sharding: Sharding, mesh: Mesh) -> Sharding:
    """The same placement without the axes of size 1, on which nothing has to move."""
    dims = tuple(tuple(axis for axis in axes if mesh.sizes[axis] > 1) for axes in sharding.dims)
    return Sharding(dims, tuple(entry for entry in sharding.partial if mesh.sizes[entry[0]] > 1))


@dataclass
class _Place:
    """The copies of one value, by how they lie; the first is the one that its op made."""

    shape: tuple[int, ...]
    element: str
    copies: dict[Sharding, ir.Value] = field(default_factory=dict)


class _Partitioner:
    """The state of one walk."""

    def __init__(
        self,
        function: ir.Operation,
        mesh: Mesh,
        reading: Reading,
        shardings: Sequence[Sharding],
        cost: CostModel,
        emitter: Emitter,
    ) -> None:
        self.function = function
        self.block = function.regions[0].blocks[0]
        self.mesh = mesh
        self.reading = reading
        self.shardings = shardings
        self.cost = cost
        self.emitter = emitter
        self.replaced: list[tuple[ir.Operation, ir.Value]] = []
        self.places: dict[ir.Value, _Place] = {}
        self.made: dict[tuple[ir.Value, object], ir.Value] = {}
        self.free: dict[ir.Value, tuple[int, ...]] = {}
        self.shapes: dict[tuple[tuple[int, ...], Sharding], tuple[int, ...]] = {}
        planner = Planner(reading, shardings, mesh, cost, emitter)
        nodes = dict(zip(reading.ops, reading.graph.nodes, strict=True))
        self.operations = [(view.operation, nodes.get(view.operation)) for view in self.block.operations]
        self.plans = [planner.plan(op, node) for op, node in nodes.items()]
        self.reads = self._all_reads()
        self.unread = self._find_unread()
        live = (read for number, reads in enumerate(self.reads) if number not in self.unread for read in reads)
        self.windows = Windows(self.emitter, margins_of(live, mesh))

    def _all_reads(self) -> list[list[Read]]:
        """What every op reads of each operand, known before anything is changed."""
        found = map(Pad.of, (op for op in self.reading.ops if op.name == "tensor.pad"))
        pads = {pad.op.results[0]: pad for pad in found if pad is not None and pad.source in self.reading.values}
        reads = [
            list(map(Read, values, plan.operands, plan.windows))
            for values, plan in zip(self.reading.read, self.plans, strict=True)
        ]
        for own in reads if pads else ():
            own[:] = [through_pad(read, pads[read.value], self.mesh) if read.value in pads else read for read in own]
        return reads

    def _find_unread(self) -> set[int]:
        """The numbers of ops whose results nobody reads, since all read through them."""
        needed = {operand for op, node in self.operations if node is None for operand in op.operands}
        unread: set[int] = set()
        for number, op in reversed([*enumerate(self.reading.ops)]):
            if any(result in needed for result in op.results):
                needed.update([read.value for read in self.reads[number]])
            else:
                unread.add(number)
        return unread

    def run(self) -> None:
        for argument in self.block.arguments:
            if is_tensor(argument):
                self._record(argument, Local.of(argument, self._declared(argument), self.mesh))
        unread: list[ir.Operation] = []
        following = iter([*(op for op, _ in self.operations[1:]), None])
        for (op, node), behind in zip(self.operations, following, strict=True):
            if node is not None and node.index in self.unread:
                unread.append(op)
            elif node is not None:
                self._node(op, node, behind)
            elif op.name == "func.return":
                self._return(op)
            elif op.results and is_free(op.results[0]):
                self._free(op.results[0])
            else:
                self._bring_whole(op)
        for op in reversed(unread):
            op.erase()
        for op, made in self.replaced:
            op.results[0].replace_all_uses_with(made)
            op.erase()
        self._erase_unused()
        self._set_function_type()

    def _declared(self, value: ir.Value) -> Sharding:
        return self.shardings[self.reading.values[value]]

    def _record(self, value: ir.Value, local: Local) -> None:
        """`value` is local from here on."""
        self.places[value] = _Place(local.shape, local.element, {local.sharding: value})
        value.set_type(local.type)

    def _node(self, op: ir.Operation, node: Node, following: ir.Operation | None) -> None:
        plan = self.plans[node.index]
        with ir.InsertionPoint(op), op.location:
            self._bring_operands(op, node, plan)
        results = [result for result in op.results if is_tensor(result)]
        for result, local in zip(results, plan.results, strict=True):
            self._record(result, local)
        made = localize(op, plan.split, looks=plan.looks)
        if made is not None:
            self.replaced.append((op, made))
        _forget(op)
        for result, local in zip(results, plan.results, strict=True):
            if local.sharding.is_partial and following is not None:
                self._complete(result, op, following)

    def _bring_operands(self, op: ir.Operation, node: Node, plan: Plan) -> None:
        operands = op.operands
        for position, (value, read) in enumerate(
            zip(self.reading.read[node.index], self.reads[node.index], strict=True)
        ):
            local = self._at(read.value, read.sharding, op)
            if read.windows:
                local = self.windows.read(local, read)
            if position in plan.initial:
                local = self._once(value, local, plan.results[plan.initial[position]].sharding)
            if local == value:
                continue
            if position < len(plan.tensors):
                operands[plan.tensors[position]] = local
            else:
                _replace_in_regions(op, value, local)

    def _once(self, value: ir.Value, local: ir.Value, made: Sharding) -> ir.Value:
        """The initial value of a split reduction counts on one device only."""
        for combiner in dict.fromkeys(combiner for _, combiner in made.partial):
            if not is_identity(value, combiner) and not _is_empty(value):
                axes = tuple(axis for axis in self.mesh.axes if (axis, combiner) in made.partial)
                local = count_once(local, combiner, axes, self.emitter)
        return local

    def _bring_whole(self, op: ir.Operation) -> None:
        """An op with no tensor result (a scalar read from a tensor) works on whole operands."""
        with ir.InsertionPoint(op), op.location:
            for position, operand in enumerate(op.operands):
                if is_tensor(operand):
                    op.operands[position] = self._at(operand, Sharding.replicated(len(shape_of(operand))), op)

    def _free(self, value: ir.Value) -> None:
        """Made anew in every shape; but a constant table stays whole, and every device takes its slice of it."""
        _forget(value.owner.operation)
        if _is_table(value):
            whole = Sharding.replicated(len(shape_of(value)))
            self.places[value] = _Place(shape_of(value), element_of(value), {whole: value})
        else:
            self.free[value] = shape_of(value)

    def _complete(self, result: ir.Value, op: ir.Operation, following: ir.Operation) -> None:
        """Combine a partial result as its annotation says; whole ones are moved when somebody needs them elsewhere."""
        if not list(result.uses):
            return
        place = self.places[result]
        made = next(iter(place.copies))
        declared = self._declared(result)
        left = tuple(entry for entry in declared.partial if entry in made.partial)
        if set(made.partial) != set(left):
            with ir.InsertionPoint(following), op.location:
                self._bring(place, Sharding(declared.dims, left), f"partial result of {op.name}")

    def _at(self, value: ir.Value, wanted: Sharding, user: ir.Operation) -> ir.Value:
        """The local value of `value` when it lies as `wanted`, at the insertion point."""
        place = self.places.get(value)
        if place is None:
            return self._free_copy(value, wanted)
        return place.copies.get(wanted) or self._bring(place, wanted, f"operand of {user.name}")

    def _bring(self, place: _Place, wanted: Sharding, cause: str) -> ir.Value:
        if wanted in place.copies:
            return place.copies[wanted]
        size = element_size(place.element)
        routes = [
            (route(source, wanted, place.shape, size, self.mesh, self.cost), number, source)
            for number, source in enumerate(place.copies)
            if not set(wanted.partial) - set(source.partial)
        ]
        if not routes:
            return self._summand(place, wanted, cause)
        best, _, source = min(routes, key=lambda entry: (entry[0].seconds, entry[1]))
        value = place.copies[source]
        for step in best.steps:
            shape = self._local_shape(place.shape, step.after)
            value = self.emitter.step(value, step, shape, f"{cause}: {self._told(step, source, wanted)}")
            if all(axis in self.mesh.sizes for axis in step.after.axes()):
                place.copies.setdefault(step.after, value)
        return value

    def _told(self, step: Step, source: Sharding, wanted: Sharding) -> str:
        what = {StepKind.ALL_REDUCE: "combined", StepKind.REDUCE_SCATTER: "combined and split"}.get(step.kind, "moved")
        return f"{what} from {source.told(self.mesh)} to {wanted.told(self.mesh)}"

    def _summand(self, place: _Place, wanted: Sharding, cause: str) -> ir.Value:
        """A whole value as a partial sum: the first device of each group keeps it, the others hold zero."""
        nearest = max(place.copies, key=lambda source: len(set(source.partial) & set(wanted.partial)))
        kept = tuple(entry for entry in wanted.partial if entry in nearest.partial)
        whole = self._bring(place, Sharding(wanted.dims, kept), cause)
        axes = tuple(
            axis for axis in self.mesh.axes if any(entry[0] == axis for entry in wanted.partial if entry not in kept)
        )
        place.copies[wanted] = count_once(whole, Combiner.ADD, axes, self.emitter)
        return place.copies[wanted]

    def _free_copy(self, value: ir.Value, wanted: Sharding) -> ir.Value:
        """An empty tensor, splat or constant fill at the local shape, or what depends on positions for these."""
        shape = self._local_shape(self.free[value], wanted)
        positional = value.owner.name == "linalg.generic"
        key = (value, wanted.dims if positional else shape)
        if key not in self.made:
            if not any(wanted.dims) or (not positional and shape == self.free[value]):
                self.made[key] = value
            else:
                self.made[key] = self._positional(value, wanted) if positional else _remade(value, shape)
        return self.made[key]

    def _local_shape(self, shape: tuple[int, ...], sharding: Sharding) -> tuple[int, ...]:
        key = shape, sharding
        if key not in self.shapes:
            self.shapes[key] = sharding.local_shape(shape, self.mesh)
        return self.shapes[key]

    def _positional(self, value: ir.Value, wanted: Sharding) -> ir.Value:
        """What an op makes of its indices, for this device's."""
        rule = generic_rule(value.owner.operation)
        assignment = project(rule.results[0], wanted.dims, rule.factors, self.mesh)
        if rule.placement(rule.results[0], assignment) != wanted:
            whole = Sharding.replicated(wanted.rank)
            return self._bring(_Place(self.free[value], element_of(value), {whole: value}), wanted, "a constant")
        op = value.owner.operation.clone()
        shape = wanted.local_shape(self.free[value], self.mesh)
        type_ = tensor_type(shape, ir.RankedTensorType(value.type).element_type)
        with ir.InsertionPoint(op), op.location:
            op.operands[0] = tensor.EmptyOp(shape, type_.element_type).result
        op.results[0].set_type(type_)
        localize(op, Split(rule, assignment, self.emitter))
        return op.results[0]

    def _return(self, op: ir.Operation) -> None:
        written: list[dict[str, ir.Attribute]] = [{} for _ in op.operands]
        with ir.InsertionPoint(op), op.location:
            for position, operand in enumerate(list(op.operands)):
                if is_tensor(operand):
                    wanted = self._returned(position, operand)
                    written[position] = {SHARDING: ir.StringAttr.get(str(wanted.told(self.mesh)))}
                    op.operands[position] = self._at(operand, wanted, op)
        extend_attributes(self.function, "res_attrs", written)

    def _returned(self, position: int, operand: ir.Value) -> Sharding:
        """How a result lies: an update as the argument that it replaces, another value as it is declared."""
        updates = self.reading.graph.updates
        if position in updates:
            return self.shardings[self.reading.graph.arguments[updates[position]]]
        if operand in self.reading.values:
            return self._declared(operand).complete()
        return Sharding.replicated(len(shape_of(operand)))

    def _erase_unused(self) -> None:
        for op in reversed([view.operation for view in self.block.operations]):
            pure = op.name in ("tensor.empty", "arith.constant", "linalg.fill", "linalg.generic", "tm_tensor.scatter")
            if pure and not any(list(result.uses) for result in op.results):
                op.erase()

    def _set_function_type(self) -> None:
        inputs = [argument.type for argument in self.block.arguments]
        results = [operand.type for operand in list(self.block.operations)[-1].operands]
        self.function.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(inputs, results))


def _is_table(value: ir.Value) -> bool:
    """Whether a free value is a constant whose elements differ."""
    if value.owner.name != "arith.constant":
        return False
    held = value.owner.attributes["value"]
    return not (isinstance(held, ir.DenseElementsAttr) and held.is_splat)


def _remade(value: ir.Value, shape: Sequence[int]) -> ir.Value:
    """A free value of another shape, at the insertion point."""
    op = value.owner
    type_ = tensor_type(shape, ir.RankedTensorType(value.type).element_type)
    if op.name == "tensor.empty":
        return tensor.EmptyOp(list(shape), type_.element_type).result
    if op.name == "arith.constant":
        held = ir.DenseElementsAttr(op.attributes["value"]).get_splat_value()
        return arith.ConstantOp(type_, ir.DenseElementsAttr.get_splat(type_, held)).result
    empty = tensor.EmptyOp(list(shape), type_.element_type).result
    return linalg.fill(op.operands[0], outs=[empty])


def _forget(op: ir.Operation) -> None:
    """What was asked of an op means nothing in the program of one device."""
    attributes = op.attributes
    for name in (SHARDING, CONSTRAINT, SOURCE, FACTORS):
        if name in attributes:
            del attributes[name]


def _is_empty(value: ir.Value) -> bool:
    return not isinstance(value, ir.BlockArgument) and value.owner.name == "tensor.empty"


def _replace_in_regions(op: ir.Operation, old: ir.Value, new: ir.Value) -> None:
    for inner in region_ops(op):
        for number, operand in enumerate(inner.operands):
            if operand == old:
                inner.operands[number] = new
