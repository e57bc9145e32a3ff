"""Taking mesh axes apart where a reshape asks for it, on hand-made graphs."""

from __future__ import annotations

import pytest

from jogak.sharding.constraints import Seed
from jogak.sharding.mesh import Mesh
from jogak.sharding.refinement import propagate_refined
from jogak.sharding.request import Request
from jogak.sharding.rule import Factor, OpShardingRule
from jogak.testing.graphs import GraphBuilder


def expanded(*sizes: int) -> OpShardingRule:
    """One dimension taken apart into several."""
    members = tuple(range(len(sizes)))
    return OpShardingRule(tuple(map(Factor, sizes)), ((members,),), (tuple((member,) for member in members),))


def refined(mesh: str, spec: str, *sizes: int) -> tuple[Mesh, str, list[tuple[str, ...]]]:
    """The mesh, how the result of a reshape lies, and what is left out."""
    total = 1
    for size in sizes:
        total *= size
    builder = GraphBuilder()
    x = builder.argument(total)
    y = builder.op(expanded(*sizes), [x], *sizes)
    graph = builder.returns(y)
    asked = Request.parse(spec)
    found, result = propagate_refined(graph, Mesh.parse(mesh), lambda m: [Seed(x, asked.on(m).spread(1), 0, "test")])
    return found, str(result.shardings[y].told(found)), [each.axes for each in result.lost]


@pytest.mark.parametrize(
    ("mesh", "spec", "sizes", "axes", "told"),
    [
        ("x=4", "[x]", (2, 4), ("x:(1)2", "x:(2)2"), "[x:(1)2, x:(2)2]"),
        ("x=4", "[x]", (4, 2), ("x",), "[x, _]"),
        ("x=8", "[x]", (2, 2, 2), ("x:(1)2", "x:(2)2", "x:(4)2"), "[x:(1)2, x:(2)2, x:(4)2]"),
        ("x=12", "[x]", (2, 6), ("x:(1)2", "x:(2)6"), "[x:(1)2, x:(2)6]"),
        ("y=2,x=4", "[y x]", (4, 4), ("y", "x:(1)2", "x:(2)2"), "[y x:(1)2, x:(2)2]"),
        ("y=2,x=4", "[x y]", (4, 2), ("y", "x"), "[x, y]"),
    ],
)
def test_each_factor_gets_its_part(mesh, spec, sizes, axes, told):
    found, result, lost = refined(mesh, spec, *sizes)
    assert (found.axes, result, lost) == (axes, told, [])


def test_what_nothing_divides_is_told_and_the_common_part_is_used():
    found, result, lost = refined("x=8", "[x]", 12, 64)
    assert (found.axes, result, lost) == (("x:(1)4", "x:(4)2"), "[x:(1)4, _]", [("x:(4)2",)])
    found, result, lost = refined("x=2", "[x]", 3, 2)
    assert (found.axes, result, lost) == (("x",), "[_, _]", [("x",)])
