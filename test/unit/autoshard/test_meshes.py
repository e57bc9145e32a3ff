"""Which meshes are searched, what is told meanwhile, and what an interrupt leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from jogak.autoshard.meshes import meshes, refinements, search_meshes
from jogak.autoshard.plan import Posed, Program, SearchOptions, pose
from jogak.cost.machine_file import load_machine
from jogak.cost.model import Roofline
from jogak.sharding.mesh import Mesh
from jogak.testing.graphs import GraphBuilder

EAGER = load_machine(str(Path(__file__).parent / "eager.toml"))


def program() -> Program:
    b = GraphBuilder()
    x, u = b.argument(64, 64), b.argument(64, 64)
    return Program.of(b.returns(b.op("ij, jk -> ik", [x, u], 64, 64, flops=2.0 * 64**3)))


def posed(mesh: Mesh) -> Posed:
    return pose(program(), Roofline(EAGER, mesh), (), SearchOptions())


def test_every_mesh_of_two_axes_and_its_refinements():
    assert [str(mesh) for mesh in meshes(8)] == ["data=8", "data=2,model=4", "data=4,model=2"]
    fine = [mesh.shape for mesh in refinements(Mesh.parse("data=8,model=4"))]
    assert fine == [(2, 4, 4), (4, 2, 4), (8, 2, 2)]
    assert not list(refinements(Mesh.parse("data=8")))


def test_the_best_mesh_is_refined_and_progress_is_told():
    told = []
    found = search_meshes(list(meshes(16)), posed, SearchOptions(), lambda *state: told.append(state), 60.0)
    three = [each for each in found if len(each.mesh.axes) == 3]
    best_of_two = min((each for each in found if len(each.mesh.axes) == 2), key=lambda each: each.outcome.objective)
    if found[0].mesh.axes != ("data",):
        assert three
    assert found[0].outcome.objective <= best_of_two.outcome.objective
    assert [each.outcome.objective for each in found] == sorted(each.outcome.objective for each in found)
    assert {mesh for mesh, _, _ in told} == {each.mesh for each in found}
    assert all(state.lower_bound is None or state.lower_bound >= 0 for _, _, state in told)


def interrupted_at(number: int):
    asked = []

    def interrupted(mesh):
        asked.append(mesh)
        if len(asked) > number:
            raise KeyboardInterrupt
        return posed(mesh)

    return interrupted


def test_an_interrupt_leaves_the_best_so_far():
    found = search_meshes(list(meshes(8)), interrupted_at(1), SearchOptions())
    assert [each.outcome.interrupted for each in found] == [True]
    assert found[0].plan is not None


def test_an_interrupt_before_any_plan_goes_on():
    with pytest.raises(KeyboardInterrupt):
        search_meshes(list(meshes(8)), interrupted_at(0), SearchOptions())


def test_an_interrupt_of_the_solver_ends_the_search():
    def interrupt(mesh, others, state):
        if state.objective is not None:
            raise KeyboardInterrupt

    found = search_meshes(list(meshes(8)), posed, SearchOptions(), interrupt)
    assert len(found) == 1
    assert found[0].outcome.interrupted
    assert found[0].plan is not None
    assert found[0].outcome.lower_bound <= found[0].outcome.objective
