"""The machine: which mesh axis lies on which links, and how fast it computes."""

from __future__ import annotations

from itertools import permutations
from math import inf, prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jogak.cost.machine import Achieved, Device, Level, Machine, computing_element
from jogak.errors import JogakError
from jogak.sharding.mesh import Mesh

DEVICE = Device(1 << 34, 1e12, (("f32", 1e13), ("bf16", 1e14)))
NODE = Level("node", 300e9, 1e-6, 8)
NETWORK = Level("network", 25e9, 5e-6)


def machine(*levels: Level, **more: object) -> Machine:
    return Machine("test", DEVICE, levels or (NODE, NETWORK), **more)


def parts(mesh: str, *levels: Level) -> dict[str, list[tuple[str, int]]]:
    links = machine(*levels).axis_links(Mesh.parse(mesh))
    return {axis: [(level.name, count) for level, count in pieces] for axis, pieces in links.items()}


@pytest.mark.parametrize(
    ("mesh", "expected"),
    [
        ("data=2,model=8", {"data": [("network", 2)], "model": [("node", 8)]}),
        ("data=8,model=8", {"data": [("network", 8)], "model": [("node", 8)]}),
        ("data=4,model=4", {"data": [("node", 2), ("network", 2)], "model": [("node", 4)]}),
        ("data=16", {"data": [("node", 8), ("network", 2)]}),
        ("data=2,model=4", {"data": [("node", 2)], "model": [("node", 4)]}),
        ("a=2,b=2,c=2,d=2", {"a": [("network", 2)], "b": [("node", 2)], "c": [("node", 2)], "d": [("node", 2)]}),
        ("data=1,model=8", {"data": [], "model": [("node", 8)]}),
        ("data=3,model=2", {"data": [("node", 3)], "model": [("node", 2)]}),
        ("data=3,model=4", {"data": [("network", 3)], "model": [("node", 4)]}),
        ("data=4,model=3", {"data": [("network", 4)], "model": [("network", 3)]}),
        ("data=2,model=6", {"data": [("network", 2)], "model": [("node", 2), ("network", 3)]}),
    ],
)
def test_axes_lie_within_or_across_nodes(mesh, expected):
    assert parts(mesh) == expected


def test_three_levels():
    rack = Level("rack", 100e9, 2e-6, 4)
    assert parts("a=4,b=8,c=4", Level("node", 300e9, 1e-6, 8), rack, NETWORK) == {
        "a": [("network", 4)],
        "b": [("node", 2), ("rack", 4)],
        "c": [("node", 4)],
    }


@settings(deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=3), st.integers(1, 12))
def test_what_counts_as_inside_a_node_is_inside(shape, size):
    """Against the device numbers: blocks along an axis that share its inner part never leave a node."""
    mesh = Mesh(tuple(f"a{number}" for number in range(len(shape))), tuple(shape))
    links = machine(Level("node", 1.0, 0.0, size), NETWORK).axis_links(mesh)
    for axis, pieces in links.items():
        assert prod(count for _, count in pieces) == mesh.sizes[axis]
        inner = {level.name: count for level, count in pieces}.get("node", 1)
        for group in mesh.groups([axis]):
            for first in range(0, len(group), inner):
                assert len({device // size for device in group[first : first + inner]}) == 1


@settings(deadline=None)
@given(st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, max_size=3), st.sampled_from([1, 2, 4, 8]))
def test_powers_of_two_leave_the_node_only_where_they_must(shape, size):
    mesh = Mesh(tuple(f"a{number}" for number in range(len(shape))), tuple(shape))
    links = machine(Level("node", 1.0, 0.0, size), NETWORK).axis_links(mesh)
    for axis, pieces in links.items():
        nodes = {len({device // size for device in group}) for group in mesh.groups([axis])}
        assert nodes == {{level.name: count for level, count in pieces}.get("network", 1)}


def test_a_collective_over_several_axes_lies_on_the_levels_of_all():
    mesh = Mesh.parse("data=4,model=4")
    node, network = machine().spans(mesh, ("data", "model"))
    assert (node.devices, network.devices) == (8, 2)
    assert (node.bandwidth, network.bandwidth) == (300e9, 25e9)


def test_the_achieved_fraction_slows_links_memory_and_arithmetic():
    slower = machine(achieved=Achieved(compute=0.5, memory=0.25, network=0.75))
    (span,) = slower.spans(Mesh.parse("data=8"), ("data",))
    assert (span.bandwidth, slower.memory_bandwidth, slower.rate("f32")) == (225e9, 0.25e12, 0.5e13)


def test_an_axis_can_have_links_of_its_own():
    own = Level("axis data", 1e9, 1e-4)
    mesh = Mesh.parse("data=2,model=4")
    overridden = machine(axes=(("data", own),))
    assert overridden.axis_links(mesh)["data"] == ((own, 2),)
    assert [span.bandwidth for span in overridden.spans(mesh, ("data", "model"))] == [300e9, 1e9]


def test_a_mesh_that_is_too_large_is_refused():
    small = machine(NODE, Level("network", 25e9, 5e-6, 2))
    small.check_mesh(Mesh.parse("data=16"))
    with pytest.raises(JogakError, match=r"needs 32 devices, machine 'test' has 16: 8 \(node\) x 2 \(network\)"):
        small.check_mesh(Mesh.parse("data=32"))


@pytest.mark.parametrize(
    ("element", "rate"),
    [("f32", 1e13), ("bf16", 1e14), ("f8E4M3FN", 1e14), ("f16", 1e13), ("f64", 1e13), ("i8", 1e13), ("i64", 1e13)],
)
def test_a_type_without_a_rate_runs_as_the_next_wider_one(element, rate):
    assert machine().rate(element) == rate


@pytest.mark.parametrize(
    ("inputs", "results", "expected"),
    [
        (["bf16", "bf16"], ["f32"], "bf16"),
        (["f32", "bf16"], ["bf16"], "f32"),
        (["i64", "f16"], ["f32"], "f16"),
        (["i8"], ["i32"], "i8"),
        ([], ["f64"], "f64"),
    ],
)
def test_an_op_computes_in_the_widest_type_that_it_reads(inputs, results, expected):
    assert computing_element(inputs, results) == expected


@pytest.mark.parametrize("inputs", list(permutations(["i64", "i32", "i1"])))
def test_of_several_integers_the_first_counts(inputs):
    """In a set the first one would be the same for most orders, and another in the next process."""
    assert computing_element(inputs, ["i64"]) == inputs[0]


def test_no_limit_is_null_in_json():
    free = Machine("free", Device(1, inf, (("f32", inf),)), (Level("links", inf, 0.0),))
    effective = free.effective(Mesh.parse("data=2"))
    assert effective["flops"] == {"f32": None}
    assert effective["memory_bandwidth"] is None
    assert effective["axes"]["data"][0]["bandwidth"] is None
