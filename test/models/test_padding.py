"""Sizes that the mesh does not divide: training steps equal to PyTorch."""

from __future__ import annotations

import pytest

from jogak.ir.grid import declare_mesh
from jogak.ir.module import main_function
from jogak.sharding.annotation import read_arguments, write_constraints
from jogak.sharding.constraints import Constraint, resolve
from jogak.sharding.mesh import Mesh
from jogak.testing.equality import prepare, run_sharded

CASES = {
    "vocabulary of 97 on 4": (
        "zoo:gpt2?layers=1&heads=8&width=64&vocab=97&context=16&sequence=16&batch=8",
        "model=4",
        ("wte.weight=[model, _]",),
    ),
    "batch of 6 on 4": (
        "zoo:gpt2?layers=1&heads=8&width=64&vocab=97&context=15&sequence=15&batch=6",
        "data=4",
        ("tokens=[data, _]", "target=[data, _]"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_training_step_with_padding_equals_pytorch(name):
    model, text, constraints = CASES[name]
    prepared, mesh = prepare(model, True, None), Mesh.parse(text)
    module = prepared.module.operation.clone()
    declare_mesh(module, mesh)
    function = main_function(module).operation
    given = [Constraint.parse(constraint) for constraint in constraints]
    write_constraints(function, resolve(given, read_arguments(function), mesh))
    verdict = run_sharded(module, prepared, mesh, True, None)
    assert verdict.error < 1e-6
    assert verdict.promised == verdict.counted
