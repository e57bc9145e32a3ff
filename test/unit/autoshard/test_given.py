"""The user's constraints in the search: every plan keeps them, groups agree, contradictions name both places."""

from __future__ import annotations

from pathlib import Path

import pytest

from jogak.autoshard.plan import SearchOptions, search_plan
from jogak.cost.machine_file import load_machine
from jogak.cost.model import Roofline
from jogak.errors import JogakError
from jogak.sharding.mesh import Mesh
from jogak.testing.graphs import GraphBuilder, seed

MESH = Mesh(("data", "model"), (2, 2))
EAGER = str(Path(__file__).parent / "eager.toml")


def program():
    """Two products that the search would split by rows, with sizes at which splitting pays."""
    b = GraphBuilder()
    x, u, v = b.argument(4096, 1024), b.argument(1024, 1024), b.argument(1024, 1024)
    h = b.op("ij, jk -> ik", [x, u], 4096, 1024, flops=2.0 * 4096 * 1024 * 1024)
    y = b.op("ij, jk -> ik", [h, v], 4096, 1024, flops=2.0 * 4096 * 1024 * 1024)
    return b.returns(y), x, u, v, h, y


def shardings(graph, *seeds) -> list[str]:
    cost = Roofline(load_machine(EAGER), MESH)
    _, _, plan = search_plan(graph, cost, seeds, SearchOptions())
    return [str(each) for each in plan.shardings]


def test_requests_hold():
    graph, x, u, _, h, _ = program()
    free = shardings(graph)
    assert free[x] != "[_, _]"
    found = shardings(graph, seed(x, "replicated(data, model)"), seed(u, "any(model)"), seed(h, "[data, ?]"))
    assert found[x] == "[_, _]"
    assert "model" in found[u]
    assert found[h].startswith("[data,")


def test_groups_agree_where_the_search_alone_would_not():
    graph, _, u, v, *_ = program()
    asked = [seed(u, "[_, model]"), seed(v, "[?, ?]")]
    alone = shardings(graph, *asked)
    tied = shardings(graph, seed(u, "[_, model] group(w)"), seed(v, "group(w)"))
    assert alone[v] != "[_, model]"
    assert tied[u] == tied[v] == "[_, model]"


def test_two_priorities_both_hold():
    graph, x, *_ = program()
    assert shardings(graph, seed(x, "[data ?, ?]"), seed(x, "[?, model ?] p1"))[x] == "[data, model]"


@pytest.mark.parametrize(
    ("first", "second"),
    [("[data, _]", "[model, _] p1"), ("[data, ?]", "replicated(data)"), ("[_, _]", "any(model) p1")],
)
def test_contradictions_name_both(first, second):
    graph, x, *_ = program()
    with pytest.raises(JogakError, match="contradicts plan") as caught:
        shardings(graph, seed(x, first, "plan.toml:3"), seed(x, second, "plan.toml:4"))
    assert caught.value.where == "plan.toml:4"


def test_an_axis_of_one_device_may_be_named():
    graph, x, u, *_ = program()
    cost = Roofline(load_machine(EAGER), Mesh(("data", "model"), (1, 4)))
    asked = [seed(x, "[data, ?]"), seed(u, "[model, data]")]
    _, _, plan = search_plan(graph, cost, asked, SearchOptions())
    assert str(plan.shardings[u]) == "[model, _]"
