"""Cutting values and putting them together."""

from __future__ import annotations

import pytest
import torch

from jogak.errors import JogakError
from jogak.runtime.sharded import shard_value, unshard_value
from jogak.runtime.simulator import SimulationError
from jogak.sharding.mesh import Mesh
from jogak.sharding.sharding import Sharding

MESH = Mesh(("a", "b"), (2, 4))
X = torch.randn(8, 16)


@pytest.mark.parametrize(
    "text",
    ["[_, _]", "[a, _]", "[b, a]", "[a b, _]", "[_, b a]", "[_, a] partial(b: sum)", "[_, _] partial(a: max, b: sum)",
     "[b, _] partial(a: product)"],
)  # fmt: skip
def test_there_and_back(text: str) -> None:
    sharding = Sharding.parse(text)
    pieces = shard_value(X, sharding, MESH)
    assert tuple(pieces[0].shape) == sharding.local_shape(X.shape, MESH)
    whole, difference = unshard_value(pieces, sharding, MESH)
    assert torch.equal(whole, X)
    assert difference == 0.0


def test_axes_of_one_dimension_are_major_to_minor() -> None:
    pieces = shard_value(torch.arange(8), Sharding.parse("[b a]"), MESH)
    assert [int(piece) for piece in pieces] == [0, 2, 4, 6, 1, 3, 5, 7]


def test_replicas_that_differ() -> None:
    pieces = shard_value(X, Sharding.parse("[a, _]"), MESH)
    pieces[6] = pieces[6] + 1e-7
    _, difference = unshard_value(pieces, Sharding.parse("[a, _]"), MESH)
    assert 0 < difference < 1e-6
    pieces[6] = pieces[6] + 1
    with pytest.raises(SimulationError, match="devices 4 and 6 hold replicas that differ"):
        unshard_value(pieces, Sharding.parse("[a, _]"), MESH)


def test_nan_is_a_difference_only_when_the_other_is_not_nan() -> None:
    pieces = [torch.full((2,), torch.nan) for _ in range(8)]
    assert unshard_value(pieces, Sharding.parse("[_]"), MESH)[1] == 0.0
    pieces[3] = torch.zeros(2)
    with pytest.raises(SimulationError):
        unshard_value(pieces, Sharding.parse("[_]"), MESH)


def test_uneven_dimensions_are_padded_and_the_padding_is_cut_off() -> None:
    value = torch.arange(1, 11).reshape(2, 5)
    pieces = shard_value(value, Sharding.parse("[_, b]"), MESH)
    assert [piece.shape[1] for piece in pieces] == [2] * 8
    assert pieces[MESH.device({"a": 1, "b": 2})].tolist() == [[5, 0], [10, 0]]
    assert pieces[MESH.device({"a": 0, "b": 3})].tolist() == [[0, 0], [0, 0]]
    pieces[3] = torch.full((2, 2), 7)
    whole, difference = unshard_value(pieces, Sharding.parse("[_, b]"), MESH, shape=(2, 5))
    assert torch.equal(whole, value)
    assert difference == 0.0


def test_a_dimension_with_fewer_elements_than_pieces_is_refused() -> None:
    with pytest.raises(JogakError, match="cannot be split 4 ways"):
        shard_value(torch.zeros(3), Sharding.parse("[b]"), MESH)
