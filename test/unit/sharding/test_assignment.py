"""The local choice of partition against brute force."""

from __future__ import annotations

from itertools import permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jogak.sharding.assignment import assign, is_reduction, move
from jogak.sharding.graph import Graph, Node
from jogak.sharding.mesh import Mesh
from jogak.sharding.projection import is_expressible
from jogak.sharding.sharding import Sharding
from jogak.testing.graphs import GraphBuilder
from jogak.testing.ring import RingCost

MESH = Mesh(("a", "b"), (2, 2))
COST = RingCost(MESH)


def matmul() -> Graph:
    b = GraphBuilder()
    x, w = b.argument(8, 16), b.argument(16, 32)
    return b.returns(b.op("ij, jk -> ik", [x, w], 8, 32, flops=2.0 * 8 * 16 * 32))


def chosen(graph: Graph, *texts: str) -> dict[int, tuple[str, ...]]:
    return dict(assign(graph.nodes[0], graph, [Sharding.parse(text) for text in texts], MESH, COST).assignment)


@pytest.mark.parametrize(
    ("x", "w", "y", "expected"),
    [
        ("[a, _]", "[_, _]", "[a, _]", {0: ("a",)}),
        ("[_, b]", "[b, _]", "[_, _]", {1: ("b",)}),
        ("[a, b]", "[b, _]", "[a, _]", {0: ("a",), 1: ("b",)}),
        ("[a, _]", "[_, b]", "[a, b]", {0: ("a",), 2: ("b",)}),
        ("[_, _]", "[_, _]", "[_, _]", {}),
        ("[a b, _]", "[_, _]", "[a b, _]", {0: ("a", "b")}),
        ("[b a, _]", "[_, _]", "[b a, _]", {0: ("b", "a")}),
    ],
)
def test_a_matmul_follows_its_tensors(x, w, y, expected):
    assert chosen(matmul(), x, w, y) == expected


def test_one_reshard_of_the_smaller_operand():
    """S3 of the anchors: lhs [x, y], rhs [y, x] and result [x, _] need one reshard, of the right operand."""
    mesh = Mesh(("x", "y"), (4, 2))
    b = GraphBuilder()
    left, right = b.argument(64, 8), b.argument(8, 16)
    graph = b.returns(b.op("ij, jk -> ik", [left, right], 64, 16, flops=1.0))
    shardings = [Sharding.parse(text) for text in ("[x, y]", "[y, x]", "[x, _]")]
    node = graph.nodes[0]
    choice = assign(node, graph, shardings, mesh, RingCost(mesh))
    assert choice.assignment == {0: ("x",), 1: ("y",)}
    assert node.rule.placement(node.rule.operands[0], choice.assignment) == shardings[0]
    assert str(node.rule.placement(node.rule.operands[1], choice.assignment)) == "[y, _]"


def every_assignment(node: Node, mesh: Mesh):
    """All ways to split factors by axes, sensible or not."""
    factors = node.rule.factors
    for places in product([None, *range(len(factors))], repeat=len(mesh.axes)):
        groups = {f: [a for a, p in zip(mesh.axes, places, strict=True) if p == f] for f in set(places) - {None}}
        for orders in product(*(permutations(group) for group in groups.values())):
            yield dict(zip(groups, map(tuple, orders), strict=True))


def price(node: Node, graph: Graph, assignment, shardings, mesh: Mesh) -> float:
    rule = node.rule
    touched = 0.0
    seconds = 0.0
    for value, dims in zip(node.operands, rule.operands, strict=True):
        wanted = rule.placement(dims, assignment)
        seconds += move(value, shardings[value], wanted, graph, mesh, COST)
        touched += graph.values[value].bytes / wanted.shards(mesh)
    made = rule.result_placement(0, assignment)
    seconds += move(node.results[0], made, shardings[node.results[0]], graph, mesh, COST)
    touched += graph.values[node.results[0]].bytes / made.shards(mesh)
    split = mesh.size(axis for axes in assignment.values() for axis in axes)
    return seconds + COST.kernel("f32", node.flops / split, touched)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.data())
def test_no_assignment_of_neighbouring_axes_is_cheaper(data):
    """Brute force over all that puts each axis where some tensor has it; reductions are split as far as can be."""
    rule = data.draw(st.sampled_from(["ij, ij -> ij", "ij, ji -> ij", "ij, j_ -> i_", "ij, i_ -> j_"]))
    b = GraphBuilder()
    x, y = b.argument(8, 8), b.argument(8, 8)
    graph = b.returns(b.op(rule, [x, y], 8, 8))
    node = graph.nodes[0]
    shardings = [Sharding.parse(data.draw(st.sampled_from(
        ["[_, _]", "[a, _]", "[_, a]", "[b, a]", "[a b, _]", "[_, b a]", "[a, b]"]
    ))) for _ in range(3)]  # fmt: skip
    neighbours = {
        (axis, factor)
        for value, dims in node.tensors()
        for members, axes in zip(dims, shardings[value].dims, strict=True)
        for factor in members
        for axis in axes
        if node.rule.factors[factor].kind != "blocked"
    }
    prices: dict[int, list[float]] = {}
    for assignment in every_assignment(node, MESH):
        pairs = {(axis, factor) for factor, axes in assignment.items() for axis in axes}
        tensors = (*node.rule.operands, *node.rule.results)
        if pairs <= neighbours and all(is_expressible(d, assignment, node.rule.factors, MESH) for d in tensors):
            parts = MESH.size(axis for axis, _ in pairs) if is_reduction(node) else 1
            prices.setdefault(parts, []).append(price(node, graph, assignment, shardings, MESH))
    assert assign(node, graph, shardings, MESH, COST).seconds == pytest.approx(min(prices[max(prices)]))
