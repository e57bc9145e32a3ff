"""DTensor placements in and out, without a process group."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed.tensor import Partial, Replicate, Shard

from jogak.errors import JogakError
from jogak.runtime.sharded import shard_value
from jogak.sharding.mesh import Mesh
from jogak.sharding.placements import from_placements, to_placements
from jogak.sharding.sharding import Sharding

MESH = Mesh(("data", "model", "expert"), (2, 2, 2))


@pytest.mark.parametrize(
    ("placements", "text"),
    [
        ([Shard(0), Replicate(), Replicate()], "[data, _]"),
        ([Shard(0), Shard(0), Shard(1)], "[data model, expert]"),
        ([Shard(-1), Replicate(), Partial()], "[_, data] partial(expert: sum)"),
        ([Replicate(), Partial("max"), Shard(1)], "[_, expert] partial(model: max)"),
    ],
)
def test_both_ways(placements, text):
    sharding = from_placements(placements, 2, MESH)
    assert str(sharding) == text
    again = to_placements(sharding, MESH)
    assert from_placements(again, 2, MESH) == sharding
    assert [type(each) for each in again] == [type(each) for each in placements]


@given(st.lists(st.sampled_from([Shard(0), Shard(1), Replicate(), Partial(), Partial("min")]), min_size=3, max_size=3))
def test_what_goes_out_comes_back(placements):
    assert list(to_placements(from_placements(placements, 2, MESH), MESH)) == placements


def test_what_has_no_counterpart_says_so():
    with pytest.raises(JogakError, match="2 placements for the 3 axes"):
        from_placements([Replicate(), Replicate()], 2, MESH)
    with pytest.raises(JogakError, match="of a tensor of 2 dimensions"):
        from_placements([Shard(2), Replicate(), Replicate()], 2, MESH)
    with pytest.raises(JogakError, match="has no counterpart"):
        from_placements([Partial("avg"), Replicate(), Replicate()], 2, MESH)
    with pytest.raises(JogakError, match="not the order of the mesh"):
        to_placements(Sharding.parse("[model data, _]"), MESH)


def test_a_dtensor_holds_the_piece_that_the_simulator_gives_the_device():
    """DTensor's own rule for cutting a dimension, applied axis after axis, beside `shard_value`."""
    whole = torch.arange(8 * 4, dtype=torch.float32).reshape(8, 4)
    sharding = Sharding.parse("[data model, expert]")
    pieces = shard_value(whole, sharding, MESH)
    for device in range(MESH.devices):
        own = whole
        for axis, placement in zip(MESH.axes, to_placements(sharding, MESH), strict=True):
            place, size = MESH.coordinates(device)[axis], own.shape[placement.dim]
            count, begin = Shard.local_shard_size_and_offset(size, MESH.sizes[axis], place)
            own = own.narrow(placement.dim, begin, count)
        assert torch.equal(own, pieces[device])
