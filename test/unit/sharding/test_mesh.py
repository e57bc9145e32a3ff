"""The mesh: its text, device numbers and groups."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jogak.errors import JogakError
from jogak.sharding.mesh import Mesh

MESHES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(
    lambda shape: Mesh(tuple("abcd"[: len(shape)]), tuple(shape))
)


@pytest.mark.parametrize(
    ("text", "axes", "shape"),
    [
        ("data=2,model=4", ("data", "model"), (2, 4)),
        (" data = 2 , model = 4 ", ("data", "model"), (2, 4)),
        ("8", ("data",), (8,)),
        ("2x4", ("data", "model"), (2, 4)),
        ("2x2x2", ("axis0", "axis1", "axis2"), (2, 2, 2)),
    ],
)
def test_parse(text, axes, shape):
    assert Mesh.parse(text) == Mesh(axes, shape)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read"),
        ("data", "cannot read"),
        ("data=2,", "cannot read"),
        ("data=two", "cannot read"),
        ("data=-2", "cannot read"),
        ("data=0", "has size 0"),
        ("0x2", "has size 0"),
        ("data=2,data=4", "named twice"),
        ("2d=2", "not a valid mesh axis name"),
        ("=2", "not a valid mesh axis name"),
    ],
)
def test_parse_errors(text, message):
    with pytest.raises(JogakError, match=message) as caught:
        Mesh.parse(text)
    assert caught.value.hint


@given(MESHES)
def test_text_round_trip(mesh):
    assert Mesh.parse(str(mesh)) == mesh


@given(MESHES)
def test_coordinates_and_devices_are_inverse(mesh):
    places = [mesh.coordinates(device) for device in range(mesh.devices)]
    assert [mesh.device(place) for place in places] == list(range(mesh.devices))
    assert len({tuple(place.items()) for place in places}) == mesh.devices


def test_the_last_axis_counts_fastest():
    mesh = Mesh(("a", "b"), (2, 3))
    assert mesh.coordinates(4) == {"a": 1, "b": 1}
    assert [mesh.device({"a": 0, "b": b}) for b in range(3)] == [0, 1, 2]


@given(MESHES, st.data())
def test_groups_partition_the_devices(mesh, data):
    axes = data.draw(st.lists(st.sampled_from(mesh.axes), unique=True))
    groups = list(mesh.groups(axes))
    assert sorted(device for group in groups for device in group) == list(range(mesh.devices))
    assert all(len(group) == mesh.size(axes) for group in groups)
    for group in groups:
        assert all(mesh.group(device, axes) == group for device in group)


def test_group_order_follows_the_axes_given():
    mesh = Mesh(("a", "b"), (2, 2))
    assert mesh.group(0, ("a", "b")) == (0, 1, 2, 3)
    assert mesh.group(0, ("b", "a")) == (0, 2, 1, 3)


def test_check_suggests_the_nearest_axis():
    with pytest.raises(JogakError, match="unknown mesh axis 'modle'") as caught:
        Mesh.parse("data=2,model=2").check(["modle"])
    assert "model" in str(caught.value.hint)


REFINED = Mesh(("data", "x:(1)2", "x:(2)3", "x:(6)2"), (2, 2, 3, 2))


def test_a_mesh_is_cut_into_sub_axes_and_keeps_its_devices():
    mesh = Mesh.parse("data=2,x=12").cut({"x": [2]})
    assert (mesh.axes, mesh.shape) == (("data", "x:(1)2", "x:(2)6"), (2, 2, 6))
    assert mesh.cut({"x": [6]}) == REFINED
    assert REFINED.whole == Mesh.parse("data=2,x=12")
    for device in range(24):
        fine, coarse = REFINED.coordinates(device), REFINED.whole.coordinates(device)
        assert coarse["x"] == (fine["x:(1)2"] * 3 + fine["x:(2)3"]) * 2 + fine["x:(6)2"]


def test_cuts_nest():
    mesh = Mesh.parse("x=12").cut({"x": [4]})
    assert mesh.can_cut("x", 2)
    assert not mesh.can_cut("x", 6)
    with pytest.raises(JogakError, match="cannot be cut at both 4 and 6") as caught:
        mesh.cut({"x": [6]})
    assert caught.value.hint


@pytest.mark.parametrize(
    ("named", "axes"),
    [
        (("x",), ("x:(1)2", "x:(2)3", "x:(6)2")),
        (("x:(2)6",), ("x:(2)3", "x:(6)2")),
        (("x:(1)6", "data"), ("x:(1)2", "x:(2)3", "data")),
        (("x:(1)4",), ("x:(1)4",)),
        (("y",), ("y",)),
    ],
)
def test_names_of_axes_and_sub_axes_are_expanded(named, axes):
    assert REFINED.expand(named) == axes


def test_whole_axes_are_told_by_their_names():
    assert REFINED.told(("x:(1)2", "x:(2)3", "x:(6)2", "data")) == ("x", "data")
    assert REFINED.told(("x:(2)3", "x:(1)2", "data")) == ("x:(2)3", "x:(1)2", "data")
    assert str(REFINED) == "data=2,x=12"


@given(MESHES, st.data())
def test_expanding_and_telling_are_inverse(mesh, data):
    cuts = {axis: [2] for axis, size in mesh.sizes.items() if size == 4 and data.draw(st.booleans())}
    fine = mesh.cut(cuts)
    axes = tuple(data.draw(st.permutations(mesh.axes)))
    assert fine.told(fine.expand(axes)) == axes
    assert fine.size(fine.expand(axes)) == mesh.devices
    assert fine.group(0, fine.expand(axes)) == mesh.group(0, axes)
    assert Mesh.from_json(fine.to_json()) == fine


def test_sub_axes_that_are_named_make_cuts():
    assert Mesh.parse("data=2,x=12").cut_for(["x:(2)3", "data", "y:(1)2"]) == REFINED
    assert Mesh.parse("x=12").cut_for(["x:(1)5"]) == Mesh.parse("x=12")


@pytest.mark.parametrize(
    ("axes", "shape"), [(("x:(2)2",), (2,)), (("x:(1)2", "x:(4)2"), (2, 2)), (("x:(1)2", "y", "x:(2)2"), (2, 2, 2))]
)
def test_sub_axes_leave_nothing_out(axes, shape):
    with pytest.raises(JogakError, match="does not follow") as caught:
        Mesh(axes, shape)
    assert caught.value.hint


def test_a_sub_axis_that_the_mesh_does_not_have():
    with pytest.raises(JogakError, match=r"mesh axis 'x' of size 12 has no sub-axis 'x:\(1\)4'"):
        REFINED.check(["x:(1)4"])
