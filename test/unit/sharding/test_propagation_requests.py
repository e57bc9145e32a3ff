"""What requests beside dimensions do in propagation: groups, replication, any dimension, barriers, conflicts."""

from __future__ import annotations

import pytest

from jogak.errors import JogakError
from jogak.sharding.graph import Graph
from jogak.sharding.mesh import Mesh
from jogak.sharding.outcome import Propagated
from jogak.sharding.propagation import propagate
from jogak.sharding.telling import describe_conflicts, describe_overruled
from jogak.testing.graphs import GraphBuilder, seed

MESH = Mesh(("a", "b", "c"), (2, 2, 2))


def run(graph: Graph, *seeds) -> list[str]:
    return [str(sharding) for sharding in propagate(graph, MESH, seeds).shardings]


def two_chains() -> tuple[Graph, int, int, int, int]:
    """Two arguments that no op connects, each with an op behind it."""
    b = GraphBuilder()
    x, y = b.argument(8, 8), b.argument(8, 8)
    p, q = b.op("ij -> ij", [x], 8, 8), b.op("ij -> ij", [y], 8, 8)
    return b.returns(p, q), x, y, p, q


def test_values_of_a_group_lie_alike():
    graph, x, y, p, q = two_chains()
    found = propagate(graph, MESH, [seed(x, "[a, ?]", "here"), seed(p, "group(g)"), seed(q, "group(g)")])
    assert [str(each) for each in found.shardings] == ["[a, _]"] * 4
    assert found.root(y, "a") == "here"


def test_a_group_goes_by_its_smallest_value_and_its_closed_dimensions():
    b = GraphBuilder()
    x, small = b.argument(8, 8), b.argument(8, 2)
    graph = b.returns(x, small)
    assert run(graph, seed(x, "[?, a ?] group(g)"), seed(small, "group(g)")) == ["[_, a]", "[_, a]"]
    found = run(graph, seed(x, "[?, ?] group(g)"), seed(small, "[_, ?] group(g)"), seed(x, "any(b) p1"))
    assert found == ["[_, b]", "[_, b]"]


def test_values_of_different_ranks_are_no_group():
    b = GraphBuilder()
    x, y = b.argument(8, 8), b.argument(8)
    with pytest.raises(JogakError, match="'g' cannot lie alike") as caught:
        propagate(b.returns(x, y), MESH, [seed(x, "group(g)", "plan.toml:3"), seed(y, "group(g)", "plan.toml:4")])
    assert "plan.toml:3" in str(caught.value)
    assert "plan.toml:4" in str(caught.value)


def test_replication_is_never_split():
    graph, x, _, p, _ = two_chains()
    found = run(graph, seed(x, "[a b, _]"), seed(p, "replicated(b)"))
    assert (found[x], found[p]) == ("[a b, _]", "[a, _]")


def test_any_dimension_is_the_largest_that_is_left():
    b = GraphBuilder()
    w = b.argument(6, 16)
    graph = b.returns(w)
    assert run(graph, seed(w, "any(a)")) == ["[_, a]"]
    assert run(graph, seed(w, "[?, a b ?]"), seed(w, "any(c) p1")) == ["[c, a b]"]
    assert run(graph, seed(w, "[?, _]"), seed(w, "any(a) p1")) == ["[a, _]"]
    assert run(graph, seed(w, "any(a)"), seed(w, "any(a) p1")) == ["[_, a]"]


def test_strategies_in_order_data_then_tensor_then_zero():
    """Adam-like state of a weight: the weight keeps the tensor axis, the state gets the data axis as well."""
    b = GraphBuilder()
    x, w, m = b.argument(8, 16), b.argument(16, 64), b.argument(16, 64)
    h = b.op("ij, jk -> ik", [x, w], 8, 64)
    dw = b.op("ij, ik -> jk", [x, h], 16, 64)
    new_m = b.op("jk, jk -> jk", [m, dw], 16, 64)
    new_w = b.op("jk, jk -> jk", [w, new_m], 16, 64)
    graph = b.returns(new_w, new_m, updates={0: 1, 1: 2})
    found = run(graph, seed(x, "[a, _]"), seed(w, "[_, b] p1"), seed(m, "any(a) p2"))
    assert found[h] == "[a, b]"
    assert found[w] == "[_, b]"
    assert found[m] == found[new_m] == "[_, b a]"


def test_a_barrier_stops_what_passes():
    b = GraphBuilder()
    x = b.argument(8, 8)
    y = b.op("ij -> ij", [x], 8, 8)
    z = b.op("ij -> ij", [y], 8, 8)
    graph = b.returns(z)
    both = [seed(x, "[a, ?]"), seed(z, "[?, b]")]
    assert run(graph, *both) == ["[a, b]", "[a, b]", "[a, b]"]
    assert run(graph, *both, seed(y, "barrier")) == ["[a, _]", "[a, _]", "[_, b]"]
    assert run(graph, *both, seed(y, "barrier(forward)")) == ["[a, _]", "[a, _]", "[a, b]"]
    assert run(graph, *both, seed(y, "barrier(backward)")) == ["[a, b]", "[a, b]", "[_, b]"]


def test_a_barrier_on_an_argument_keeps_its_sharding_to_itself():
    b = GraphBuilder()
    x, w = b.argument(8, 16), b.argument(16, 16)
    y = b.op("ij, jk -> ik", [x, w], 8, 16)
    found = run(b.returns(y), seed(w, "[_, a] barrier"), seed(x, "[b, _]"))
    assert found == ["[b, _]", "[_, a]", "[b, _]"]


def overruled(graph: Graph, *seeds) -> tuple[Propagated, str]:
    result = propagate(graph, MESH, seeds)
    (each,) = result.overruled
    return result, describe_overruled(each)[0]


def test_what_gives_way_is_told_with_both_places():
    graph, x, _, p, _ = two_chains()
    _, text = overruled(graph, seed(x, "[a, ?]", "plan.toml:3"), seed(p, "[?, a] p1", "plan.toml:9"))
    assert text == (
        "dimension 1 is not split by a as plan.toml:9 asks: plan.toml:3, of an earlier priority, gave it _, or those "
        "axes to another dimension"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [("[a, _] group(g)", "[b, _] group(g)"), ("[a, ?] group(g)", "[_, a] group(g)"), ("[a, _]", "replicated(a)")],
)
def test_a_contradiction_names_both_places(first, second):
    graph, x, y, *_ = two_chains()
    other = x if "replicated" in second else y
    result = propagate(graph, MESH, [seed(x, first, "plan.toml:3"), seed(other, second, "plan.toml:4")])
    told = [describe_overruled(each)[0] for each in result.overruled if each.equal]
    assert told
    assert all("plan.toml:3" in text and "plan.toml:4" in text for text in told)


def test_conflicts_are_told_with_both_constraints():
    b = GraphBuilder()
    x, w = b.argument(8, 16), b.argument(16, 64)
    y = b.op("ij, jk -> ik", [x, w], 8, 64)
    graph = b.returns(y)
    result = propagate(graph, MESH, [seed(x, "[a, _]", "train.py:3"), seed(w, "[_, a]", "train.py:4")])
    ((text, node),) = describe_conflicts(result, graph)
    assert node == 0
    assert "train.py:3" in text
    assert "train.py:4" in text


def test_without_a_conflict_nothing_is_told():
    b = GraphBuilder()
    x, w = b.argument(8, 16), b.argument(16, 64)
    y = b.op("ij, jk -> ik", [x, w], 8, 64)
    graph = b.returns(y)
    result = propagate(graph, MESH, [seed(x, "[a, _]"), seed(w, "[_, b]")])
    assert list(describe_conflicts(result, graph)) == []
