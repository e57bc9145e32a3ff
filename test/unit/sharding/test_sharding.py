"""Shardings and constraint patterns: text, checks, local shapes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jogak.errors import JogakError
from jogak.sharding.mesh import Mesh
from jogak.sharding.sharding import Combiner, DimSpec, Sharding, SpecPattern

AXES = ("data", "model", "x1", "p0")
MESH = Mesh(AXES, (2, 2, 2, 2))


@st.composite
def splits(draw) -> tuple[tuple[tuple[str, ...], ...], dict[str, Combiner]]:
    """Axes dealt to the dimensions of a value, and to a partial result."""
    rank = draw(st.integers(0, 4))
    dims: list[tuple[str, ...]] = [()] * rank
    partial: dict[str, Combiner] = {}
    for axis in draw(st.permutations(AXES)):
        place = draw(st.integers(-2, rank - 1))
        if place >= 0:
            dims[place] = (*dims[place], axis)
        elif place == -2:
            partial[axis] = draw(st.sampled_from(Combiner))
    return tuple(dims), partial


@given(splits())
def test_sharding_round_trip(split):
    sharding = Sharding(split[0]).with_partial(split[1])
    assert Sharding.parse(str(sharding)) == sharding
    sharding.check(MESH)


@given(splits(), st.lists(st.booleans(), min_size=4, max_size=4), st.integers(0, 9))
def test_pattern_round_trip(split, opened, priority):
    dims = tuple(DimSpec(axes, open_) for axes, open_ in zip(split[0], opened, strict=False))
    pattern = SpecPattern(dims, tuple(sorted(split[1].items())), priority)
    assert SpecPattern.parse(str(pattern)) == pattern


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", SpecPattern(())),
        ("[_]", SpecPattern((DimSpec(),))),
        ("[?]", SpecPattern((DimSpec((), True),))),
        ("[_ ?]", SpecPattern((DimSpec((), True),))),
        (" [ data  model , _ ] p2 ", SpecPattern((DimSpec(("data", "model")), DimSpec()), (), 2)),
        ("[model ?] partial(data)", SpecPattern((DimSpec(("model",), True),), (("data", Combiner.ADD),))),
    ],
)
def test_pattern_parse(text, expected):
    assert SpecPattern.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data", "cannot read 'data' as a sharding"),
        ("[data", "as a sharding"),
        ("[data,]", "as a dimension"),
        ("[,]", "as a dimension"),
        ("[data _]", "as a dimension"),
        ("[? data]", "as a dimension"),
        ("[2d]", "as a dimension"),
        ("[_] p", "as a sharding"),
        ("[_] partial(data: average)", "unknown combiner"),
        ("[_] partial(data: sum, data: max)", "partial twice"),
    ],
)
def test_pattern_errors(text, message):
    with pytest.raises(JogakError, match=message) as caught:
        SpecPattern.parse(text)
    assert caught.value.hint


def test_a_full_sharding_has_no_open_dimension():
    with pytest.raises(JogakError, match="open dimension"):
        Sharding.parse("[data ?]")


@pytest.mark.parametrize("text", ["[data, data]", "[data data]", "[data] partial(data: sum)"])
def test_an_axis_can_be_used_once(text):
    with pytest.raises(JogakError, match="'data' is used twice"):
        Sharding.parse(text).check(MESH)


def test_local_shape():
    assert Sharding.parse("[data model, _, x1]").local_shape((8, 3, 2), MESH) == (2, 3, 1)
    assert Sharding.parse("[_, data]").local_shape((8, 3), MESH) == (8, 2)
    assert Sharding.parse("[_, data]").padded_shape((8, 3), MESH) == (8, 4)
    with pytest.raises(JogakError, match="dimension 1 of size 1 cannot be split 2 ways by data"):
        Sharding.parse("[_, data]").local_shape((8, 1), MESH)


def test_describe():
    sharding = Sharding.parse("[data, _, model x1] partial(p0: sum)")
    assert sharding.describe((8, 512, 768), "f32") == "f32[8@data, 512, 768@model@x1] partial(p0)"
    assert not sharding.is_replicated
    assert sharding.complete() == Sharding.parse("[data, _, model x1]")
    assert sharding.shards(MESH) == 8


def test_sub_axes_are_written_as_their_axis_where_they_are_all_there():
    mesh = Mesh(("x:(1)2", "x:(2)2", "y"), (2, 2, 2))
    sharding = Sharding.parse("[x, _] partial(y: max)").on(mesh)
    assert sharding.dims == (("x:(1)2", "x:(2)2"), ())
    assert str(sharding.told(mesh)) == "[x, _] partial(y: max)"
    parted = Sharding.parse("[x:(2)2, _] partial(x:(1)2: sum, y)").on(mesh)
    assert str(parted.told(mesh)) == "[x:(2)2, _] partial(x:(1)2: sum, y: sum)"
    assert str(Sharding.parse("[_] partial(x: sum)").on(mesh).told(mesh)) == "[_] partial(x: sum)"
    with pytest.raises(JogakError, match="as a partial axis"):
        Sharding.parse("[_] partial(x:(2): sum)")


def test_an_empty_dimension_that_nothing_splits_stays_as_it_is():
    assert Sharding(((), ("x",))).local_shape((0, 4), Mesh(("x",), (2,))) == (0, 2)
