"""How ops are done: decided once for all ops that are built alike and whose tensors lie alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch_mlir import ir

from jogak.cost.model import CostModel
from jogak.ir.build import tensor_type
from jogak.ir.structured import element_of, is_tensor, shape_of
from jogak.partition.emit import Emitter
from jogak.partition.split import Split
from jogak.sharding.annotation import FACTORS, read_strategy
from jogak.sharding.assignment import assign
from jogak.sharding.graph import Node
from jogak.sharding.mesh import Mesh
from jogak.sharding.projection import Axes
from jogak.sharding.reading import Reading
from jogak.sharding.sharding import Sharding
from jogak.sharding.strategy import Strategy
from jogak.sharding.windows import Window


@dataclass(frozen=True)
class Local:
    """An argument or a result on one device.

    Attributes:
        sharding: how it lies.
        shape, element: what the whole tensor is.
        type: its local type.
    """

    sharding: Sharding
    shape: tuple[int, ...]
    element: str
    type: ir.Type

    @staticmethod
    def of(value: ir.Value, sharding: Sharding, mesh: Mesh) -> Local:
        """How a tensor of the whole program lies."""
        shape = shape_of(value)
        type_ = tensor_type(sharding.local_shape(shape, mesh), ir.RankedTensorType(value.type).element_type)
        return Local(sharding, shape, element_of(value), type_)


@dataclass(frozen=True)
class Plan:
    """How an op is done.

    Attributes:
        split: its rule and the axes of each factor.
        operands: how each tensor that it reads has to lie.
        windows: for each tensor that it reads the windows on it, with the axes that split the dimension.
        results: its results on one device.
        tensors: which of its operands are tensors.
        initial: for operands that initialize a result, by their place among the tensors, the number of the result.
        looks: whether its region counts iterations or reads tensors by index.
    """

    split: Split
    operands: tuple[Sharding, ...]
    windows: tuple[tuple[tuple[Axes, Window], ...], ...]
    results: tuple[Local, ...]
    tensors: tuple[int, ...]
    initial: dict[int, int]
    looks: bool


class Planner:
    """Decides how the ops of a program are done."""

    def __init__(
        self, reading: Reading, shardings: Sequence[Sharding], mesh: Mesh, cost: CostModel, emitter: Emitter
    ) -> None:
        self.reading = reading
        self.shardings = shardings
        self.mesh = mesh
        self.cost = cost
        self.emitter = emitter
        places: dict[object, int] = {}
        self.places = [
            places.setdefault((value.shape, value.element, shardings[value.id]), value.id)
            for value in reading.graph.values
        ]
        self.plans: dict[object, Plan] = {}

    def plan(self, op: ir.Operation, node: Node) -> Plan:
        """The plan of an op.

        Raises:
            PassFailed: the strategy that is written on it does not fit.
        """
        chosen = op.attributes.get(FACTORS)
        analysis = self.reading.analyses[node.index]
        places = tuple([None if value is None else self.places[value] for value in (*node.operands, *node.results)])
        key = id(analysis), chosen, places
        if key not in self.plans:
            self.plans[key] = self._made(op, node)
        return self.plans[key]

    def _made(self, op: ir.Operation, node: Node) -> Plan:
        rule, analysis = node.rule, self.reading.analyses[node.index]
        strategy = self._strategy(op, node)
        split = [
            (axes, window)
            for factor, axes in sorted(strategy.assignment.items())
            for window in rule.factors[factor].windows
        ]
        positions = range(len(rule.operands))
        results = []
        for number, result in enumerate(filter(is_tensor, op.results)):
            sharding = strategy.result(rule, number)
            results.append(Local.of(result, sharding, self.mesh))
        return Plan(
            Split(rule, strategy.assignment, self.emitter),
            tuple(strategy.operand(rule, position, node.through) for position in positions),
            tuple(tuple(each for each in split if each[1].operand == position) for position in positions),
            tuple(results),
            analysis.tensors,
            dict(analysis.initial),
            analysis.looks,
        )

    def _strategy(self, op: ir.Operation, node: Node) -> Strategy:
        """What the search chose for the op; what is cheapest between its neighbours where it chose nothing."""
        chosen = read_strategy(op, node.rule, self.mesh)
        if chosen is not None:
            return chosen
        assignment = assign(node, self.reading.graph, self.shardings, self.mesh, self.cost).assignment
        return Strategy(tuple(assignment.get(number, ()) for number in range(len(node.rule.factors))))
