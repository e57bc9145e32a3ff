"""All-pairs prices of resharding against the planner that partition uses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jogak.autoshard.strategies import completions, placements
from jogak.autoshard.transitions import Transitions, alike, network
from jogak.errors import JogakError
from jogak.sharding.mesh import Mesh
from jogak.sharding.reshard import route
from jogak.sharding.sharding import Combiner, Sharding

SUM = (("data", Combiner.ADD),)


@pytest.mark.parametrize("shape", [(8,), (8, 16), (4, 8, 12)])
@pytest.mark.parametrize("mesh", ["data=4", "data=2,model=2", "data=4,model=2"])
def test_no_price_is_above_the_planner_s(priced, shape, mesh):
    cost = priced(mesh)
    whole = placements(shape, cost.mesh)
    partial = [Sharding(((),) * len(shape), SUM)]
    sources, targets = [*whole, *partial], [*whole, *partial]
    table = Transitions(cost.mesh, cost).table(shape, 4, sources, targets)
    for i, source in enumerate(sources):
        for j, target in enumerate(targets):
            try:
                planned = route(source, target, shape, 4, cost.mesh, cost).seconds
            except JogakError:
                continue
            assert table[i, j] <= planned * (1 + 1e-9) + 1e-15


@given(st.lists(st.integers(1, 40), min_size=1, max_size=3), st.sampled_from(["data=4,model=2", "data=2,model=3"]))
@settings(max_examples=40, deadline=None)
def test_shapes_that_are_alike_have_the_same_steps(sizes, mesh):
    devices = Mesh.parse(mesh)
    shape = tuple(sizes)
    assert alike(alike(shape, devices), devices) == alike(shape, devices)
    assert network(shape, devices, Combiner.ADD) == network(alike(shape, devices), devices, Combiner.ADD)


def test_staying_is_free_and_ways_are_shortest(priced):
    cost = priced("data=2,model=2")
    shardings = list(placements((8, 8), cost.mesh))
    table = Transitions(cost.mesh, cost).table((8, 8), 4, shardings, shardings)
    assert np.all(np.diagonal(table) == 0)
    through = (table[:, :, None] + table[None, :, :]).min(axis=1)
    assert np.all(table <= through + 1e-15)


def test_a_whole_value_becomes_a_summand_without_communication(priced):
    cost = priced("data=4")
    whole, summand = Sharding.replicated(2), Sharding(((), ()), SUM)
    table = Transitions(cost.mesh, cost).table((8, 8), 4, [whole], [summand])
    assert table[0, 0] == pytest.approx(cost.copy(8 * 8 * 4))


def test_a_sum_is_kept_split_or_whole(priced):
    found = set(completions(Sharding(((), ("model",)), SUM), (8, 8), priced("data=2,model=2").mesh))
    assert Sharding((("data",), ("model",))) in found
    assert Sharding(((), ("model",))) in found
    assert Sharding(((), ("data", "model"))) in found
    assert Sharding(((), ("model",)), SUM) in found
