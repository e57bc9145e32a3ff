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
