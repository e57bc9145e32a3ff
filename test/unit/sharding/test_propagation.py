"""Propagation on hand-made graphs: directions, conflicts, priorities, open and closed dimensions, ties, reports."""

from __future__ import annotations

import random
from dataclasses import replace
from math import prod

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jogak.sharding.graph import Graph, Node
from jogak.sharding.groups import groups_of
from jogak.sharding.mesh import Mesh
from jogak.sharding.propagation import Origin, propagate
from jogak.sharding.rule import Factor, FactorKind, OpShardingRule
from jogak.sharding.sharding import Combiner
from jogak.testing.graphs import GraphBuilder, seed

MESH = Mesh(("a", "b", "c", "d", "e"), (2, 2, 2, 2, 2))


def run(graph: Graph, *seeds, mesh: Mesh = MESH) -> list[str]:
    return [str(sharding) for sharding in propagate(graph, mesh, seeds).shardings]


def test_forwards_and_backwards():
    b = GraphBuilder()
    x, y = b.argument(8, 4), b.argument(4, 8)
    z = b.op("ij, ji -> ij", [x, y], 8, 4)
    w = b.op("ij -> ji", [z], 4, 8)
    assert run(b.returns(w), seed(w, "[a, b]")) == ["[b, a]", "[a, b]", "[b, a]", "[a, b]"]


def test_megatron_weights_shard_the_middle_and_nothing_else():
    b = GraphBuilder()
    x, up, down = b.argument(8, 16), b.argument(16, 64), b.argument(64, 16)
    h = b.op("ij, jk -> ik", [x, up], 8, 64)
    g = b.op("ij -> ij", [h], 8, 64)
    y = b.op("ij, jk -> ik", [g, down], 8, 16)
    found = run(b.returns(y), seed(up, "[_, a]"), seed(x, "[b, _]"))
    assert found == ["[b, _]", "[_, a]", "[a, _]", "[b, a]", "[b, a]", "[b, _]"]


def test_the_longest_sharding_that_agrees_wins_and_conflicts_stop():
    """Like the example of Shardy's documentation, but a conflict goes to the larger tensor."""
    b = GraphBuilder()
    t0, t1, t2 = b.argument(8, 8), b.argument(8, 8, 8), b.argument(8, 8)
    out = b.op("xy, xyz, xy -> xyz", [t0, t1, t2], 8, 8, 8)
    found = run(b.returns(out), seed(t0, "[a ?, ?]"), seed(t1, "[a b ?, c d, ?]"), seed(t2, "[?, c e ?]"))
    assert found == ["[a b, c d]", "[a b, c d, _]", "[a b, c e]", "[a b, c d, _]"]


def test_an_axis_splits_one_factor_that_of_the_larger_tensor():
    b = GraphBuilder()
    small, large = b.argument(4), b.argument(4, 64)
    out = b.op("i, ij -> ij", [small, large], 4, 64)
    found = run(b.returns(out), seed(small, "[a]"), seed(large, "[?, a]"))
    assert found[out] == "[_, a]"


def test_an_axis_that_a_sum_used_up_is_free_in_its_result():
    """Both operands have `b`, on different factors: the sum over it is scattered where the smaller operand has it."""
    b = GraphBuilder()
    left, right = b.argument(512, 256), b.argument(256, 128)
    out = b.op("ik, kj -> ij", [left, right], 512, 128)
    found = run(b.returns(out), seed(left, "[a, b]"), seed(right, "[a, b]"))
    assert found == ["[a, b]", "[a, b]", "[a, b]"]
    closed = run(b.returns(out), seed(left, "[a, b]"), seed(right, "[a, b]"), seed(out, "[?, _]"))
    assert closed[out] == "[a, _]"


@pytest.mark.parametrize(("first", "second", "expected"), [("p0", "p1", "[c, _]"), ("p1", "p0", "[a, _]")])
def test_priorities_come_before_cost(first, second, expected):
    b = GraphBuilder()
    x, y = b.argument(8, 8), b.argument(8, 8)
    s = b.op("ij, ij -> ij", [x, y], 8, 8)
    t = b.op("ij -> ij", [s], 8, 8)
    found = run(b.returns(t), seed(x, f"[c, ?] {first}"), seed(y, f"[a, ?] {second}"))
    assert found[s] == found[t] == expected


def test_a_closed_dimension_never_gains_an_axis():
    b = GraphBuilder()
    x = b.argument(8, 8)
    y = b.op("ij -> ij", [x], 8, 8)
    z = b.op("ij -> ij", [y], 8, 8)
    graph = b.returns(z)
    assert run(graph, seed(x, "[a, b]"), seed(y, "[_, ?]")) == ["[a, b]", "[_, b]", "[_, b]"]
    assert run(graph, seed(x, "[a b, _]"), seed(y, "[a, _]")) == ["[a b, _]", "[a, _]", "[a, _]"]
    assert run(graph, seed(x, "[a b, _]"), seed(y, "[a ?, _]")) == ["[a b, _]", "[a b, _]", "[a b, _]"]


def test_a_constraint_that_comes_too_late_is_reported():
    b = GraphBuilder()
    x = b.argument(8, 8)
    y = b.op("ij -> ij", [x], 8, 8)
    result = propagate(b.returns(y), MESH, [seed(x, "[a, _]"), seed(y, "[?, b a] p1", "late")])
    assert str(result.shardings[y]) == "[a, b]"
    (overruled,) = result.overruled
    assert (overruled.value, overruled.dim, overruled.wanted, overruled.source) == (y, 1, ("b", "a"), "late")


def test_what_has_too_few_elements_stays_whole_and_is_reported():
    b = GraphBuilder()
    x = b.argument(8)
    y = b.op(OpShardingRule((Factor(8),), (((0,),),), (((0,),),)), [x], 3)
    result = propagate(b.returns(y), Mesh(("a",), (4,)), [seed(x, "[a]")])
    assert str(result.shardings[y]) == "[_]"
    assert [(s.value, s.dim, s.axis) for s in result.skipped] == [(y, 0, "a")]


def test_an_updated_argument_lies_as_its_new_value():
    b = GraphBuilder()
    weight, state, gradient = b.argument(8), b.argument(8), b.argument(8)
    new_state = b.op("i, i -> i", [state, gradient], 8)
    new_weight = b.op("i -> i", [weight], 8)
    graph = b.returns(new_weight, new_state, updates={0: 0, 1: 1})
    assert run(graph, seed(gradient, "[a]")) == ["[_]", "[a]", "[a]", "[a]", "[_]"]
    assert run(graph, seed(weight, "[b]")) == ["[b]", "[_]", "[_]", "[_]", "[b]"]


def reshape(coarse: int, *fine: int) -> OpShardingRule:
    members = tuple(range(len(fine)))
    assert coarse == prod(fine)
    return OpShardingRule(tuple(map(Factor, fine)), ((members,),), (tuple((m,) for m in members),))


def test_a_reshape_passes_axes_to_the_factors_that_they_fill():
    b = GraphBuilder()
    x = b.argument(16)
    y = b.op(reshape(16, 4, 4), [x], 4, 4)
    assert run(b.returns(y), seed(x, "[a b c]")) == ["[a b c]", "[a b, c]"]
    assert run(b.returns(y), seed(y, "[a b, c]")) == ["[a b c]", "[a b, c]"]
    assert run(b.returns(y), seed(y, "[_, c]")) == ["[_]", "[_, c]"]
    assert run(b.returns(y), seed(y, "[a, c]")) == ["[a]", "[a, c]"]


def test_a_blocked_factor_passes_nothing():
    b = GraphBuilder()
    x = b.argument(8, 8)
    y = b.op("i_ -> i_", [x], 8, 8)
    assert run(b.returns(y), seed(x, "[a, b]")) == ["[a, b]", "[a, _]"]


def test_the_reason_of_every_axis_is_recorded():
    b = GraphBuilder()
    x = b.argument(8, 8)
    y = b.op("ij -> ji", [x], 8, 8)
    result = propagate(b.returns(y), MESH, [seed(x, "[a, _]", "--shard x")])
    assert result.origins == {(x, "a"): Origin(source="--shard x"), (y, "a"): Origin(node=0, value=x)}


def test_pass_through_ops_go_before_contractions():
    """The batch reaches the residual before the contraction could offer its own axis."""
    b = GraphBuilder()
    x, w = b.argument(8, 8), b.argument(8, 8)
    h = b.op("ij, jk -> ik", [x, w], 8, 8)
    y = b.op("ij, ij -> ij", [h, x], 8, 8)
    found = run(b.returns(y), seed(x, "[a, ?]"), seed(w, "[?, a]"))
    assert found[y] == "[a, _]"
    assert found[h] == "[a, _]"


@st.composite
def programs(draw) -> tuple[Graph, list]:
    """A random graph of small ops with random constraints."""
    b = GraphBuilder()
    values = [b.argument(8, 8) for _ in range(draw(st.integers(1, 3)))]
    rules = ["ij, ij -> ij", "ij, ji -> ij", "ij, jk -> ik", "ij, kj -> ki", "i_, ij -> i_"]
    for _ in range(draw(st.integers(1, 8))):
        pair = [draw(st.sampled_from(values)) for _ in range(2)]
        values.append(b.op(draw(st.sampled_from(rules)), pair, 8, 8))
    graph = b.returns(values[-1], updates={0: 0} if draw(st.booleans()) else None)
    specs = ["[a, ?]", "[?, a b]", "[a ?, b]", "[b, a]", "[_, ?]", "[c ?, ?]", "[?, b a ?]", "any(d)", "any(a c)"]
    chosen = draw(st.lists(st.sampled_from(values), max_size=4, unique=True))
    seeds = [seed(v, f"{draw(st.sampled_from(specs))} p{draw(st.integers(0, 2))}") for v in chosen]
    also = ["group(g)", "group(h)", "replicated(a)", "replicated(b, d)", "barrier", "barrier(forward)"]
    more = draw(st.lists(st.tuples(st.sampled_from(values), st.sampled_from(also)), max_size=4))
    return graph, seeds + [seed(v, text) for v, text in more]


def permuted(graph: Graph, nodes: list[int], values: list[int]) -> Graph:
    """The same graph with its nodes and values in another order; `values[old]` is the new number."""
    back = {new: old for old, new in enumerate(values)}
    made = Graph(arguments=tuple(values[v] for v in graph.arguments), updates=dict(graph.updates))
    made.results = tuple(None if v is None else values[v] for v in graph.results)
    for new in range(len(graph.values)):
        old = graph.values[back[new]]
        made.add_value(old.shape, old.element, old.name, old.producer)
    for index, old_index in enumerate(nodes):
        old_node = graph.nodes[old_index]
        operands = tuple(None if v is None else values[v] for v in old_node.operands)
        made.nodes.append(Node(index, old_node.op, old_node.rule, operands, tuple(values[v] for v in old_node.results)))
    return made


@settings(max_examples=200, derandomize=True, deadline=None)
@given(programs(), st.randoms(use_true_random=False))
def test_the_outcome_does_not_depend_on_any_order(program, shuffler: random.Random):
    graph, seeds = program
    assume(not any(each.equal for each in propagate(graph, MESH, seeds).overruled))  # an error of the user's
    expected = run(graph, *seeds)
    nodes, values = list(range(len(graph.nodes))), list(range(len(graph.values)))
    shuffler.shuffle(nodes)
    shuffler.shuffle(values)
    moved = [replace(s, value=values[s.value]) for s in seeds]
    shuffler.shuffle(moved)
    found = run(permuted(graph, nodes, values), *moved)
    assert [found[values[value]] for value in range(len(values))] == expected


@settings(max_examples=200, derandomize=True, deadline=None)
@given(programs())
def test_every_outcome_is_valid_and_a_fixed_point(program):
    graph, seeds = program
    result = propagate(graph, MESH, seeds)
    assume(not any(each.equal for each in result.overruled))
    for value, sharding in zip(graph.values, result.shardings, strict=True):
        sharding.check(MESH)
        sharding.local_shape(value.shape, MESH)
        assert set(sharding.axes()) == {axis for number, axis in result.origins if number == value.id}
    for given_ in seeds:
        found = result.shardings[given_.value]
        for axes, spec in zip(found.dims, given_.dims, strict=False):
            assert spec.open or axes[: len(spec.axes)] == spec.axes[: len(axes)]
        assert not set(found.axes()) & set(given_.replicated)
    for members in groups_of(graph, seeds):
        assert len({result.shardings[value] for value in members}) == 1


def test_data_goes_on_before_anything_goes_back():
    """Attention split along the sequence: the scores follow the queries, and the values do not ask otherwise first."""
    b = GraphBuilder()
    q, k, v = b.argument(64, 64), b.argument(64, 64), b.argument(64, 64)
    scores = b.op("qd, kd -> qk", [q, k], 64, 64)
    keys = Factor(64, FactorKind.REDUCTION, (Combiner.MAX,))
    largest = b.op(OpShardingRule((Factor(64), keys), (((0,), (1,)),), (((0,),),)), [scores], 64)
    weights = b.op("qk, q -> qk", [scores, largest], 64, 64)
    out = b.op("qk, kd -> qd", [weights, v], 64, 64)
    found = run(b.returns(out), *(seed(each, "[a, _]") for each in (q, k, v)))
    assert found[scores] == found[weights] == found[out] == "[a, _]"
