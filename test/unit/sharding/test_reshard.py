"""Routes between shardings: replayed on real arrays, compared with exhaustive search, and known examples."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from itertools import chain, combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jogak.errors import JogakError
from jogak.sharding.mesh import Mesh
from jogak.sharding.reshard import Route, route
from jogak.sharding.sharding import Combiner, Sharding
from jogak.sharding.shortcuts import matched
from jogak.sharding.steps import Step, StepKind
from jogak.testing.ring import RingCost

COMBINE = {Combiner.ADD: np.add, Combiner.MUL: np.multiply, Combiner.MAX: np.maximum, Combiner.MIN: np.minimum}
MESHES = [Mesh(("x",), (4,)), Mesh(("x", "y"), (4, 2)), Mesh(("x", "y"), (2, 3)), Mesh(("x", "y", "z"), (2, 2, 2))]
MESHES += [Mesh(("x", "y"), (2, 8)), Mesh(("x", "y", "z"), (2, 4, 2)), Mesh(("x", "y"), (6, 4))]


def piece(whole: np.ndarray, sharding: Sharding, mesh: Mesh, device: int) -> np.ndarray:
    """What a device holds of a whole array."""
    place = mesh.coordinates(device)
    for dim, axes in enumerate(sharding.dims):
        index = 0
        for axis in axes:
            index = index * mesh.sizes[axis] + place[axis]
        whole = np.split(whole, mesh.size(axes), dim)[index]
    return whole


def source_of(device: int, step: Step, mesh: Mesh) -> int:
    """The one device of the group whose numbers before a permute are this one's afterwards."""

    def number(place: dict[str, int], axes: tuple[str, ...]) -> int:
        return reduce(lambda index, axis: index * mesh.sizes[axis] + place[axis], axes, 0)

    here = mesh.coordinates(device)
    (found,) = [
        other
        for other in mesh.group(device, step.axes)
        if all(number(mesh.coordinates(other), a) == number(here, b) for a, b in step.exchange)
    ]
    return found


def replay(step: Step, local: list[np.ndarray], mesh: Mesh) -> list[np.ndarray]:
    """One collective on the arrays of all devices, on a mesh that has its sub-axes."""
    exchange = tuple((mesh.expand(before), mesh.expand(after)) for before, after in step.exchange)
    step = replace(step, axes=mesh.expand(step.axes), exchange=exchange)
    after = list(local)
    for group in mesh.groups(step.axes):
        parts = len(group)
        mine = [local[device] for device in group]
        for index, device in enumerate(group):
            match step.kind:
                case StepKind.ALL_SLICE:
                    after[device] = np.split(mine[index], parts, step.dim)[index]
                case StepKind.ALL_GATHER:
                    after[device] = np.concatenate(mine, step.dim)
                case StepKind.ALL_TO_ALL:
                    after[device] = np.concatenate([np.split(m, parts, step.split)[index] for m in mine], step.dim)
                case StepKind.ALL_REDUCE:
                    after[device] = reduce(COMBINE[step.combiner], mine)
                case StepKind.REDUCE_SCATTER:
                    after[device] = np.split(reduce(COMBINE[step.combiner], mine), parts, step.dim)[index]
                case StepKind.PERMUTE:
                    after[device] = local[source_of(device, step, mesh)]
    return after


def reshard(source: Sharding, target: Sharding, shape: tuple[int, ...], mesh: Mesh) -> Route:
    return route(source, target, shape, 4, mesh, RingCost(mesh))


@st.composite
def moves(draw) -> tuple[Mesh, tuple[int, ...], Sharding, Sharding]:
    """A mesh, a shape and two shardings of it, the first perhaps partial."""
    mesh = draw(st.sampled_from(MESHES))
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6, 8, 12]), min_size=0, max_size=3)))

    def split(partial: bool) -> Sharding:
        dims: list[tuple[str, ...]] = [()] * len(shape)
        left = {}
        for axis in draw(st.permutations(mesh.axes)):
            dim = draw(st.integers(-2 if partial else -1, len(shape) - 1))
            if dim >= 0 and shape[dim] % mesh.size((*dims[dim], axis)) == 0:
                dims[dim] = (*dims[dim], axis)
            elif dim == -2:
                left[axis] = combiner
        return Sharding(tuple(dims)).with_partial(left)

    combiner = draw(st.sampled_from(sorted(COMBINE)))
    source, target = split(True), split(False)
    kept = {a: c for a, c in source.partial if a not in target.axes() and draw(st.integers(0, 3)) == 0}
    return mesh, shape, source, target.with_partial(kept)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(moves())
def test_every_route_moves_the_data_where_it_belongs(move):
    mesh, shape, source, target = move
    rng = np.random.default_rng(0)
    summands: dict[tuple[int, ...], np.ndarray] = {}
    local = []
    for device in range(mesh.devices):
        place = mesh.coordinates(device)
        key = tuple(place[axis] for axis, _ in source.partial)
        summands.setdefault(key, rng.integers(1, 5, shape).astype(np.float64))
        local.append(piece(summands[key], source, mesh, device))
    here = source
    for step in reshard(source, target, shape, mesh).steps:
        local = replay(step, local, matched(mesh))
        here = step.after
        assert {array.shape for array in local} == {here.local_shape(shape, mesh)}
    assert here == target
    left = [source.partial.index(entry) for entry in target.partial]
    for device in range(mesh.devices):
        place = mesh.coordinates(device)
        mine = [a for key, a in summands.items() if all(key[i] == place[source.partial[i][0]] for i in left)]
        total = reduce(COMBINE[source.partial[0][1]], mine) if source.partial else mine[0]
        np.testing.assert_array_equal(local[device], piece(total, target, mesh, device))


def states(mesh: Mesh, shape: tuple[int, ...], partial: tuple[str, ...]) -> list[Sharding]:
    """Every sharding of a shape, with sums left on any of `partial`."""
    found = []
    for places in product(range(-2, len(shape)), repeat=len(mesh.axes)):
        if any(place == -2 and axis not in partial for axis, place in zip(mesh.axes, places, strict=True)):
            continue
        groups = [[a for a, p in zip(mesh.axes, places, strict=True) if p == dim] for dim in range(len(shape))]
        for dims in product(*(permutations(group) for group in groups)):
            left = {a: Combiner.ADD for a, p in zip(mesh.axes, places, strict=True) if p == -2}
            if all(size % mesh.size(axes) == 0 for size, axes in zip(shape, dims, strict=True)):
                found.append(Sharding(tuple(dims)).with_partial(left))
    return found


def one_collective(here: Sharding, after: Sharding, whole: int, mesh: Mesh) -> float:
    """The price of the one collective between two shardings, from their difference alone; infinite without one."""
    cost = RingCost(mesh)
    changed = [dim for dim in range(here.rank) if here.dims[dim] != after.dims[dim]]
    combined = tuple(axis for axis, _ in here.partial if (axis, Combiner.ADD) not in after.partial)
    held = whole / here.shards(mesh)
    if set(after.partial) - set(here.partial):
        return float("inf")
    if not combined and permutes(here, after, mesh):
        axes = tuple(a for a in mesh.axes if any(a in here.dims[d] + after.dims[d] for d in changed))
        return cost.collective("permute", moving(here, after, axes), held)
    if combined and not changed:
        return cost.collective("all_reduce", combined, held)
    grown = [dim for dim in changed if after.dims[dim][: len(here.dims[dim])] == here.dims[dim]]
    shrunk = [dim for dim in changed if here.dims[dim][: len(after.dims[dim])] == after.dims[dim]]
    added = {after.dims[dim][len(here.dims[dim]) :] for dim in grown}
    removed = {here.dims[dim][len(after.dims[dim]) :] for dim in shrunk}
    if combined:
        fits = len(changed) == len(grown) == 1 and set(*added) == set(combined)
        return cost.collective("reduce_scatter", combined, held) if fits else float("inf")
    if len(changed) == len(grown) == 1:
        (axes,) = added
        return cost.copy(held / mesh.size(axes))
    if len(changed) == len(shrunk) == 1:
        (axes,) = removed
        return cost.collective("all_gather", axes, held * mesh.size(axes))
    if len(changed) == 2 and len(grown) == len(shrunk) == 1 and added == removed:
        (axes,) = added
        return cost.collective("all_to_all", axes, held)
    return float("inf")


def permutes(here: Sharding, after: Sharding, mesh: Mesh) -> bool:
    """Whether both cut every dimension equally often, by other axes."""
    pairs = zip(here.dims, after.dims, strict=True)
    return here.dims != after.dims and all(mesh.size(one) == mesh.size(other) for one, other in pairs)


def moving(here: Sharding, after: Sharding, axes: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `axes` along which a piece changes its device: not those that stay first or last of their dimension."""
    still = set()
    for one, other in zip(here.dims, after.dims, strict=True):
        for a, b in (one, other), (one[::-1], other[::-1]):
            for left, right in zip(a, b, strict=False):
                if left != right:
                    break
                still.add(left)
    return tuple(axis for axis in axes if axis not in still)


def cheapest(everything: list[Sharding], whole: int, mesh: Mesh) -> np.ndarray:
    """The cheapest ways between all states (Floyd and Warshall)."""
    cost = np.array([[one_collective(a, b, whole, mesh) if a != b else 0.0 for b in everything] for a in everything])
    for via in range(len(everything)):
        cost = np.minimum(cost, cost[:, via : via + 1] + cost[via : via + 1, :])
    return cost


@pytest.mark.parametrize(("sizes", "shape"), [((4, 2), (8, 8)), ((2, 2), (4, 2, 4))])
def test_routes_are_as_cheap_as_exhaustive_search(sizes, shape):
    """Among all ways through states that use no axis, and no part of one, but those of the two ends."""
    mesh = Mesh(("x", "y"), sizes)
    fine = matched(mesh)
    checked = 0
    for axes in [("x", "y"), ("x",), ("y",)]:
        used = set(fine.expand(axes))
        everything = [state for state in states(fine, shape, fine.axes) if set(state.axes()) <= used]
        cost = cheapest(everything, int(np.prod(shape)) << 20, fine)
        plain = [state for state in states(mesh, shape, mesh.axes) if set(state.axes()) <= set(axes)]
        whole = cheapest(plain, int(np.prod(shape)) << 20, mesh)
        for source, target in product(plain, repeat=2):
            if set(target.partial) <= set(source.partial) and {*source.axes(), *target.axes()} == set(axes):
                seconds = route(source, target, shape, 1 << 20, mesh, RingCost(mesh)).seconds
                least = cost[everything.index(source.on(fine)), everything.index(target.on(fine))]
                # Sums over a part of an axis are no shortcut: there the bound is that of whole axes.
                most = whole[plain.index(source), plain.index(target)] if source.partial else least
                assert least * (1 - 1e-9) <= seconds <= most * (1 + 1e-9), f"{source} -> {target}"
                checked += 1
    assert checked > 100


def kinds(found: Route) -> list[tuple[str, tuple[str, ...]]]:
    return [(str(step.kind), step.axes) for step in found.steps]


def test_a_transpose_of_axes_never_holds_the_whole_tensor():
    """The example of openxla/xla issue 15207, which is answered there by a full gather."""
    mesh = Mesh(("x", "y"), (4, 2))
    source, target = Sharding.parse("[y, _, x]"), Sharding.parse("[_, x y, _]")
    found = reshard(source, target, (16, 16, 16), mesh)
    assert {str(step.kind) for step in found.steps} == {"all_to_all"}
    assert max(16**3 // step.after.shards(mesh) for step in found.steps) == 16**3 // 8


def test_minor_axes_are_gathered_at_once():
    mesh = Mesh(("x", "y", "z"), (2, 2, 2))
    found = reshard(Sharding.parse("[x y z, _]"), Sharding.parse("[x, _]"), (8, 8), mesh)
    assert kinds(found) == [("all_gather", ("y", "z"))]


def test_a_partial_sum_is_combined_once():
    mesh = Mesh(("x", "y"), (2, 2))
    source = Sharding.parse("[x, _] partial(y: sum)")
    assert kinds(reshard(source, Sharding.parse("[x, _]"), (8, 8), mesh)) == [("all_reduce", ("y",))]
    assert kinds(reshard(source, Sharding.parse("[x, y]"), (8, 8), mesh)) == [("reduce_scatter", ("y",))]
    both = Sharding.parse("[_, _] partial(x: sum, y: sum)")
    assert kinds(reshard(both, Sharding.parse("[_, _]"), (8, 8), mesh)) == [("all_reduce", ("x", "y"))]


def test_a_sum_that_two_axes_split_is_scattered_once():
    mesh = Mesh(("x",), (4,)).cut({"x": [2]})
    source = Sharding.parse("[_] partial(x: sum)").on(mesh)
    found = reshard(source, Sharding.parse("[x]").on(mesh), (8,), mesh)
    assert kinds(found) == [("reduce_scatter", ("x:(1)2", "x:(2)2"))]


def test_slices_of_one_dimension_are_one():
    mesh = Mesh(("x", "y"), (2, 2))
    assert kinds(reshard(Sharding.parse("[_, _]"), Sharding.parse("[_, y x]"), (8, 8), mesh)) == [
        ("all_slice", ("y", "x"))
    ]


def test_axes_that_change_places_exchange_pieces():
    mesh = Mesh(("x", "y"), (4, 2))
    ways = {"[x y, _] -> [y x, _]": ["permute"], "[x y, _] -> [y, _]": ["permute", "all_gather"]}
    for way, expected in ways.items():
        source, target = map(Sharding.parse, way.split(" -> "))
        found = reshard(source, target, (1 << 14, 1 << 14), mesh)
        assert [str(step.kind) for step in found.steps] == expected
    square = Mesh(("x", "y"), (4, 4))
    for way in ["[x, y] -> [y, x]", "[x, _] -> [y, _]"]:
        source, target = map(Sharding.parse, way.split(" -> "))
        (step,) = reshard(source, target, (64, 64), square).steps
        assert (step.kind, step.axes) == (StepKind.PERMUTE, ("x", "y"))


def test_an_axis_that_stays_in_its_place_takes_no_part_in_a_permute():
    mesh = Mesh(("x", "y", "z"), (2, 2, 2))
    (step,) = reshard(Sharding.parse("[z x, _]"), Sharding.parse("[z y, _]"), (64, 64), mesh).steps
    assert (step.kind, step.axes) == (StepKind.PERMUTE, ("x", "y"))


@settings(max_examples=150, derandomize=True, deadline=None)
@given(moves())
def test_permutes_never_cost_more(move):
    mesh, shape, source, target = move
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jogak.sharding.reshard.permuted", lambda *_: iter(()))
        before = route.__wrapped__(source, target, shape, 4, mesh, RingCost(mesh)).seconds
    assert reshard(source, target, shape, mesh).seconds <= before * (1 + 1e-9)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(moves())
def test_shortcuts_never_cost_more(move):
    mesh, shape, source, target = move
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jogak.sharding.reshard.shortcuts", lambda *_: ())
        before = route.__wrapped__(source, target, shape, 4, mesh, RingCost(mesh)).seconds
    assert reshard(source, target, shape, mesh).seconds <= before * (1 + 1e-9)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(moves())
def test_states_that_are_left_alone_lead_nowhere_cheaper(move):
    mesh, shape, source, target = move
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jogak.sharding.reshard._least", lambda *_: 0.0)
        expected = route.__wrapped__(source, target, shape, 4, mesh, RingCost(mesh))
    assert reshard(source, target, shape, mesh) == expected


def test_axes_of_different_sizes_change_places_in_parts():
    """As Shardy does it: a part of the larger axis moves, the rest is a permute; no step holds more than before."""
    mesh = Mesh(("x", "y"), (4, 2))
    found = reshard(Sharding.parse("[x, y]"), Sharding.parse("[y, x]"), (1 << 12, 1 << 12), mesh)
    assert kinds(found) == [("all_to_all", ("x:(2)2",)), ("permute", ("x:(1)2", "y"))]
    found = reshard(Sharding.parse("[y, _]"), Sharding.parse("[x, y]"), (1 << 12, 1 << 12), mesh)
    assert [str(step.kind) for step in found.steps] == ["all_slice", "all_slice", "permute"]


def test_a_mesh_without_common_factors_has_no_shortcuts():
    assert matched(Mesh(("x", "y"), (2, 3))) == Mesh(("x", "y"), (2, 3))
    assert matched(Mesh(("x", "y"), (4, 4))) == Mesh(("x", "y"), (4, 4))
    assert matched(Mesh(("x", "y"), (8, 4))).axes == ("x:(1)4", "x:(4)2", "y")


def test_nothing_to_do():
    mesh = Mesh(("x", "y"), (2, 2))
    assert reshard(Sharding.parse("[x, y]"), Sharding.parse("[x, y]"), (8, 8), mesh) == Route((), 0.0)


def test_a_whole_value_cannot_become_a_summand():
    mesh = Mesh(("x",), (2,))
    with pytest.raises(JogakError, match="it is not partial"):
        reshard(Sharding.parse("[_]"), Sharding.parse("[_] partial(x: sum)"), (8,), mesh)


def test_every_pair_of_shardings_has_a_route():
    mesh = Mesh(("x", "y"), (2, 3))
    everything = states(mesh, (6, 4), ())
    subsets = chain.from_iterable(combinations(("x", "y"), r) for r in range(3))
    assert len(everything) > len(list(subsets))
    for source, target in product(everything, repeat=2):
        found = reshard(source, target, (6, 4), mesh)
        assert (found.steps[-1].after if found.steps else source) == target
