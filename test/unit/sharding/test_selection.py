"""Patterns of inner values: by module path and by source line, and what is said when they name nothing."""

from __future__ import annotations

import pytest

from jogak.errors import JogakError
from jogak.sharding.constraints import Constraint, resolve
from jogak.sharding.graph import Graph, Node
from jogak.sharding.mesh import Mesh
from jogak.sharding.rules.einsum import einsum_rule
from jogak.sharding.selection import Argument, select

ARGUMENTS = [Argument("x", "input", (8, 16), (8, 16)), Argument("mlp.up.weight", "parameter", (16, 64), (16, 64))]


def program() -> Graph:
    """An up-projection, an activation in the same module, and a loss; then a gradient at the first line."""
    graph = Graph()
    x, w = graph.add_value((8, 16), "f32", "x"), graph.add_value((16, 64), "f32", "mlp.up.weight")
    graph.arguments = (x, w)

    def op(rule: str, operands: list[int], shape: tuple[int, ...], location: str) -> int:
        index = len(graph.nodes)
        result = graph.add_value(shape, "f32", location, index)
        made = einsum_rule(rule, [graph.values[v].shape for v in operands], [shape], where="test")
        graph.nodes.append(Node(index, "test.op", made, tuple(operands), (result,), location))
        return result

    h = op("ij, jk -> ik", [x, w], (8, 64), "/src/model.py:7 (mlp.up)")
    g = op("ik -> ik", [h], (8, 64), "/src/model.py:8 (mlp)")
    loss = op("ik -> i", [g], (8,), "/src/model.py:19")
    dw = op("ij, ik -> jk", [x, g], (16, 64), "/src/model.py:7 (mlp.up)")
    new = op("jk, jk -> jk", [w, dw], (16, 64), "optimizer.mlp.up.weight")
    graph.results, graph.updates = (loss, new), {1: 1}
    return graph


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("module:mlp", [3]),
        ("module:mlp.up", [2]),
        ("module:*.up", [2]),
        ("backward:mlp", [5]),
        ("at:model.py:7", [2]),
        ("at:/src/model.py:8", [3]),
        ("at:*.py:19", [4]),
        ("role:parameter", [1]),
        ("mlp.*", [1]),
    ],
)
def test_what_a_pattern_names(pattern, expected):
    assert sorted(select(pattern, ARGUMENTS, program())) == expected


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("module:mpl", "the nearest module is 'mlp'"),
        ("at:model.py:12", "the nearest line that computes a tensor is 8"),
        ("at:modle.py:7", "the nearest file is 'model.py'"),
        ("at:model.py", "write at:model.py:57"),
        ("role:paramter", "parameter"),
        ("mlp.up.wieght", "the nearest name is 'mlp.up.weight'"),
        ("mlp", "'module:mlp' names the values that leave it"),
        ("backward:mpl", "the nearest module is 'mlp'"),
    ],
)
def test_what_names_nothing_says_what_is_near(pattern, hint):
    with pytest.raises(JogakError) as caught:
        select(pattern, ARGUMENTS, program())
    assert hint in str(caught.value.hint)


def test_a_constraint_on_an_inner_value_must_fit_one_of_them():
    mesh = Mesh(("data",), (2,))
    (seed,) = resolve([Constraint.parse("module:mlp=[_, data]")], ARGUMENTS, mesh, program())
    assert (seed.value, str(seed.request)) == (3, "[_, data]")
    with pytest.raises(JogakError, match="no value that the pattern names has so many") as caught:
        resolve([Constraint.parse("module:mlp=[_, data, _]")], ARGUMENTS, mesh, program())
    assert caught.value.hint == "their shapes are [8, 64]"


def test_a_request_for_any_dimension_passes_over_small_values():
    mesh = Mesh(("data",), (8,))
    arguments = [*ARGUMENTS, Argument("bias", "parameter", (4,), (4,))]
    assert [s.value for s in resolve([Constraint.parse("role:parameter=any(data)")], arguments, mesh)] == [1]
    with pytest.raises(JogakError, match="can be split 8 ways"):
        resolve([Constraint.parse("bias=any(data)")], arguments, mesh)
