"""Between axes of dimensions and axes of factors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jogak.sharding.mesh import Mesh
from jogak.sharding.projection import dim_axes, is_expressible, project
from jogak.sharding.rule import Factor

MESH = Mesh(("x", "y", "z"), (4, 2, 2))


def factors(*sizes: int) -> list[Factor]:
    return [Factor(size) for size in sizes]


@pytest.mark.parametrize(
    ("sizes", "split", "expected"),
    [
        ((8,), ("x", "y"), {0: ("x", "y")}),
        ((2, 4), ("y", "x"), {0: ("y",), 1: ("x",)}),
        ((4, 2), ("y", "z", "x"), {0: ("y", "z")}),
        ((4, 4), ("y", "z", "x"), {0: ("y", "z"), 1: ("x",)}),
        ((4, 2), ("y", "x"), {0: ("y",)}),
        ((2, 4), ("x",), {}),
        ((3, 2), ("y",), {}),
        ((6, 2), ("y", "z"), {0: ("y",)}),
        ((1, 4), ("x",), {1: ("x",)}),
    ],
)
def test_project_one_dimension(sizes, split, expected):
    assert project((tuple(range(len(sizes))),), (split,), factors(*sizes), MESH) == expected


def test_dim_axes_stops_behind_a_factor_that_is_not_split_completely():
    two = factors(4, 4)
    assert dim_axes((0, 1), {0: ("x",), 1: ("y",)}, two, MESH) == ("x", "y")
    assert dim_axes((0, 1), {0: ("y",), 1: ("z",)}, two, MESH) == ("y",)
    assert dim_axes((0, 1), {1: ("z",)}, two, MESH) == ()
    assert is_expressible(((0, 1),), {0: ("x",), 1: ("y",)}, two, MESH)
    assert not is_expressible(((0, 1),), {1: ("z",)}, two, MESH)
    assert is_expressible(((0,), (1,)), {1: ("z",)}, two, MESH)


@given(st.lists(st.sampled_from([1, 2, 3, 4, 8]), min_size=1, max_size=3), st.permutations(["x", "y", "z"]), st.data())
def test_what_is_projected_is_a_prefix_and_expressible(sizes, axes, data):
    split = tuple(axes[: data.draw(st.integers(0, 3))])
    members = tuple(range(len(sizes)))
    found = project((members,), (split,), factors(*sizes), MESH)
    flat = tuple(axis for member in members for axis in found.get(member, ()))
    assert split[: len(flat)] == flat
    assert is_expressible((members,), found, factors(*sizes), MESH)
    assert dim_axes(members, found, factors(*sizes), MESH) == flat
    several = sum(size > 1 for size in sizes) > 1
    assert all(sizes[member] >= MESH.size(taken) for member, taken in found.items())
    assert not several or all(sizes[member] % MESH.size(taken) == 0 for member, taken in found.items())
