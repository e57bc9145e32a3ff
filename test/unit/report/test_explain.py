"""`jogak explain` of a plan that constraints made: where they meet."""

from __future__ import annotations

from jogak.report.explain import Explanation, explain_conflicts
from jogak.sharding.mesh import Mesh
from jogak.sharding.propagation import propagate
from jogak.testing.graphs import GraphBuilder, seed

MESH = Mesh(("a", "b"), (2, 2))


def explained(*specs: tuple[str, str]) -> list[str]:
    b = GraphBuilder()
    x, w = b.argument(8, 16), b.argument(16, 64)
    y = b.op("ij, jk -> ik", [x, w], 8, 64)
    graph = b.returns(y)
    seeds = [seed(value, text, source) for value, (text, source) in zip((x, w, x), specs, strict=False)]
    found = propagate(graph, MESH, seeds)
    return explain_conflicts(Explanation(graph, MESH, found.shardings, found))


def test_both_constraints_are_named():
    lines = explained(("[a, _]", "plan.toml:2"), ("[_, a]", "plan.toml:3"))
    assert lines[0] == "constraints that meet:"
    assert len(lines) == 2
    assert "plan.toml:2" in lines[1]
    assert "plan.toml:3" in lines[1]


def test_what_gives_way_is_named():
    lines = explained(("[a, ?]", "plan.toml:2"), ("[_, b]", "plan.toml:3"), ("[?, a] p1", "plan.toml:9"))
    assert any("plan.toml:9" in line and "plan.toml:2" in line for line in lines)


def test_where_nothing_meets_nothing_is_said():
    assert explained(("[a, _]", "plan.toml:2"), ("[_, b]", "plan.toml:3")) == []
