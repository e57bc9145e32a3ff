"""For one op with sharded tensors around it: which factor each mesh axis splits, at the least cost.

This is the local decision that partition needs wherever the annotations leave a choice: all sensible assignments are
priced (moving operands there, the local computation, moving results to their shardings) and the cheapest is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

from jogak.cost.element import element_size
from jogak.cost.machine import computing_element
from jogak.cost.model import CostModel
from jogak.sharding.graph import Graph, Node, Value
from jogak.sharding.mesh import Mesh
from jogak.sharding.padding import local_size
from jogak.sharding.projection import Assignment, Axes, is_expressible, project
from jogak.sharding.reshard import route
from jogak.sharding.rule import FactorKind, OpShardingRule
from jogak.sharding.sharding import Sharding
from jogak.sharding.windows import exchange


@dataclass(frozen=True)
class Choice:
    """An assignment and its price.

    Attributes:
        assignment: factor to axes.
        seconds: predicted time of moving the operands there, computing, and moving the results on.
    """

    assignment: Assignment
    seconds: float


_Placed = tuple[tuple[int, ...], str, Sharding]
"""Shape, element type and placement of a tensor."""


def assign(node: Node, graph: Graph, shardings: Sequence[Sharding], mesh: Mesh, cost: CostModel) -> Choice:
    """The cheapest assignment of mesh axes to the factors of `node`.

    A reduction is split as far as its tensors are: repeating heavy work on several devices to save a collective is
    never the local choice, as in Alpa (arXiv 2201.12023, section 4.2), since whoever sharded its tensors meant to split
    it. Nor is gathering what a small sum is taken of, which is a shorter collective than combining the sums, but one
    that no bucket takes.

    Args:
        shardings: how each value of the graph lies.
    """
    places = tuple(
        None if value is None else (graph.values[value].shape, graph.values[value].element, shardings[value])
        for value in (*node.operands, *node.results)
    )
    return _assign(node.rule, places, node.flops, mesh, cost)


@lru_cache(maxsize=65536)
def _assign(
    rule: OpShardingRule, places: tuple[_Placed | None, ...], flops: float, mesh: Mesh, cost: CostModel
) -> Choice:
    """The choice depends on nothing else of the program: ops of repeated layers are decided once."""
    graph = Graph()
    values = [None if placed is None else graph.add_value(placed[0], placed[1]) for placed in places]
    shardings = [placed[2] for placed in places if placed is not None]
    results = tuple(value for value in values[len(rule.operands) :] if value is not None)
    node = Node(0, "", rule, tuple(values[: len(rule.operands)]), results, flops=flops)
    found = list(candidates(node, shardings, mesh))
    if is_reduction(node):
        parts = [_parts(assignment, mesh) for assignment in found]
        found = [assignment for assignment, count in zip(found, parts, strict=True) if count == max(parts)]
    choices = (Choice(each, _price(node, each, graph, shardings, mesh, cost)) for each in found)
    return min(choices, key=lambda choice: (choice.seconds, sorted(choice.assignment.items())))


def is_reduction(node: Node) -> bool:
    """Whether partial results of the op can be combined."""
    return any(factor.kind is FactorKind.REDUCTION for factor in node.rule.factors)


def _parts(assignment: Assignment, mesh: Mesh) -> int:
    return mesh.size(axis for axes in assignment.values() for axis in axes)


def candidates(node: Node, shardings: Sequence[Sharding], mesh: Mesh) -> Iterator[Assignment]:
    """Every way to give each axis to one of the factors on which a neighbouring tensor has it, or to none.

    Axes that split a factor together come in each order that a neighbour has.
    """
    factors = node.rule.factors
    claims: dict[str, dict[int, None]] = {}
    orders: dict[int, Axes] = {}
    for value, dims in node.tensors():
        for factor, axes in project(dims, shardings[value].dims, factors, mesh).items():
            if factors[factor].kind is FactorKind.BLOCKED:
                continue
            for axis in axes:
                claims.setdefault(axis, {})[factor] = None
            if len(axes) > len(orders.get(factor, ())):
                orders[factor] = axes
    seen = [order for order in orders.values() if len(order) > 1]
    axes_ = sorted(claims, key=mesh.index)
    for picks in product(*([*claims[axis], None] for axis in axes_)):
        taken: dict[int, list[str]] = {}
        for axis, pick in zip(axes_, picks, strict=True):
            if pick is not None:
                taken.setdefault(pick, []).append(axis)
        ways = [
            dict.fromkeys(_ordered(axes, order) for order in (orders[factor], *seen)) for factor, axes in taken.items()
        ]
        for way in product(*ways):
            assignment = dict(zip(taken, way, strict=True))
            if _is_possible(node, assignment, mesh):
                yield assignment


def _ordered(axes: list[str], order: Axes) -> Axes:
    return tuple(sorted(axes, key=lambda axis: order.index(axis) if axis in order else len(order)))


def _is_possible(node: Node, assignment: Assignment, mesh: Mesh) -> bool:
    factors = node.rule.factors
    if not all(factors[factor].splits(axes, mesh) for factor, axes in assignment.items()):
        return False
    every = (*node.rule.operands, *node.rule.results)
    return all(is_expressible(dims, assignment, factors, mesh) for dims in every)


def _price(
    node: Node, assignment: Assignment, graph: Graph, shardings: Sequence[Sharding], mesh: Mesh, cost: CostModel
) -> float:
    seconds = 0.0
    touched = 0.0
    for value, dims in zip(node.operands, node.rule.operands, strict=True):
        if value is not None:
            wanted = node.rule.placement(dims, assignment)
            seconds += move(value, shardings[value], wanted, graph, mesh, cost)
            touched += _local_bytes(value, wanted, graph, mesh)
    seconds += exchange_seconds(node, assignment, graph.values, mesh, cost)
    for number, value in enumerate(node.results):
        made = node.rule.result_placement(number, assignment)
        target = shardings[value]
        partial = tuple(entry for entry in target.partial if entry in made.partial)
        seconds += move(value, made, Sharding(target.dims, partial), graph, mesh, cost)
        touched += _local_bytes(value, made, graph, mesh)
    flops = node.flops * local_share(node, assignment, mesh)
    return seconds + cost.kernel(_element(node, graph), flops, touched, node.arithmetic)


def exchange_seconds(node: Node, assignment: Assignment, values: Sequence[Value], mesh: Mesh, cost: CostModel) -> float:
    """Seconds of the halo exchanges of an op, and of copying pieces with their margins."""
    seconds = 0.0
    for factor, axes in assignment.items():
        for window in node.rule.factors[factor].windows:
            value = node.operands[window.operand]
            made = exchange(window, mesh.size(axes))
            if value is None or made is None:
                continue
            placed = node.rule.placement(node.rule.operands[window.operand], assignment)
            held = prod(placed.local_shape(values[value].shape, mesh)) * element_size(values[value].element)
            piece = window.extent if window.whole else local_size(window.extent, mesh.size(axes))
            if made.low or made.high:
                seconds += cost.collective("send", axes, held * (made.low + made.high) / piece)
            seconds += cost.copy(held * made.width / piece)
    return seconds


def local_share(node: Node, assignment: Assignment, mesh: Mesh) -> float:
    """The part of an op's iterations that one device has, padding included."""
    share = 1.0
    for factor, axes in assignment.items():
        size = node.rule.factors[factor].size
        share *= local_size(size, mesh.size(axes)) / size
    return share


def _local_bytes(value: int, sharding: Sharding, graph: Graph, mesh: Mesh) -> int:
    entry = graph.values[value]
    return prod(sharding.local_shape(entry.shape, mesh)) * element_size(entry.element)


def _element(node: Node, graph: Graph) -> str:
    inputs = node.operands[: len(node.operands) - len(node.results)]
    elements = (graph.values[value].element for value in inputs if value is not None)
    return computing_element(elements, (graph.values[value].element for value in node.results))


def move(value: int, source: Sharding, target: Sharding, graph: Graph, mesh: Mesh, cost: CostModel) -> float:
    """Seconds to bring a value from one sharding to another."""
    if source == target:
        return 0.0
    shape, element = graph.values[value].shape, graph.values[value].element
    return route(source, target, shape, element_size(element), mesh, cost).seconds
