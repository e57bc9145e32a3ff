"""From a model to `@main`: the contract on its arguments and results, locations, weights, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_mlir import ir

from jogak.errors import JogakError
from jogak.ingress.importer import Imported, import_program
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ir.diagnostics import source_location
from jogak.ir.module import main_function

TRAIN = ImportOptions(Optimizer("adamw"), loss="cross_entropy")


def described(imported: Imported, key: str) -> list[dict[str, Any]]:
    attributes = main_function(imported.module).operation.attributes
    return [{each.name: each.attr.value for each in entry} for entry in attributes[key]]


def operations(imported: Imported) -> list[ir.OpView]:
    return list(main_function(imported.module).regions[0].blocks[0].operations)


def test_contract_of_a_training_step(models: Path) -> None:
    imported = import_program(f"{models}:classifier", TRAIN)
    arguments, results = described(imported, "arg_attrs"), described(imported, "res_attrs")
    parameters = ["first.weight", "first.bias", "second.weight", "second.bias"]
    state = [f"{slot}.{name}" for slot in ("exp_avg", "exp_avg_sq") for name in parameters]
    names = [*parameters, *state, "optimizer.step", "features", "target"]
    assert [each["jogak.name"] for each in arguments] == names
    roles = ["parameter"] * 4 + ["optimizer_state"] * 9 + ["input"] * 2
    assert [each["jogak.role"] for each in arguments] == roles
    assert results[0] == {"jogak.name": "loss", "jogak.role": "loss"}
    assert [each["jogak.updates"] for each in results[1:]] == list(range(13))
    assert [each["jogak.name"] for each in results[1:]] == names[:13]
    assert imported.module.operation.verify()


def test_contract_of_inference(models: Path) -> None:
    imported = import_program(f"{models}:classifier", ImportOptions())
    assert described(imported, "res_attrs") == [{"jogak.name": "output", "jogak.role": "output"}]
    assert set(imported.inputs) == {"features"}
    assert imported.reference


def test_weights_are_outside_and_their_values_are_the_models(models: Path) -> None:
    imported = import_program(f"{models}:classifier", ImportOptions())
    assert imported.weights is not None
    assert set(imported.weights) == {"first.weight", "first.bias", "second.weight", "second.bias"}
    text = imported.module.operation.get_asm()
    assert not re.search(r"dense(_resource)?<[^>]*,", text)


def test_model_on_meta_has_no_weights_to_write() -> None:
    assert import_program("zoo:mlp?layers=2&width=8&batch=2", TRAIN).weights is None


def test_no_tensor_in_double_precision(models: Path) -> None:
    text = import_program(f"{models}:images", TRAIN).module.operation.get_asm()
    assert "xf32>" in text
    assert "xf64>" not in text


def test_autocast_multiplies_in_bf16(models: Path) -> None:
    options = ImportOptions(Optimizer("sgd"), loss="cross_entropy", autocast="bf16")
    imported = import_program(f"{models}:classifier", options)
    products = [op for op in operations(imported) if op.operation.name == "linalg.matmul"]
    assert {str(operand.type.element_type) for op in products for operand in list(op.operands)[:2]} == {"bf16"}
    types = main_function(imported.module).operation.attributes["function_type"].value
    assert [str(type_.element_type) for type_ in types.results] == ["f32"] * 5


def test_forward_and_backward_ops_name_the_users_lines(models: Path) -> None:
    lines = models.read_text().splitlines()
    hidden = next(i for i, line in enumerate(lines, 1) if "hidden = torch.relu" in line)
    imported = import_program(f"{models}:classifier", TRAIN)
    products = [op for op in operations(imported) if op.operation.name == "linalg.matmul"]
    places = [source_location(op.operation.location) for op in products]
    assert [(place.scope, place.line - hidden) for place in places] == [
        ("first", 0),
        ("second", 1),
        ("second", 1),
        ("second", 1),
        ("first", 0),
    ]
    assert {place.file for place in places} == {str(models)}


def test_updates_belong_to_the_optimizer(models: Path) -> None:
    imported = import_program(f"{models}:classifier", TRAIN)
    scopes = {source_location(op.operation.location).scope for op in operations(imported)}
    assert {"loss", "optimizer", "optimizer.first.weight", "optimizer.second.bias"} <= scopes


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dropping", ImportOptions(Optimizer("sgd"), loss="mse"), "draws random numbers"),
        ("branching", ImportOptions(), "depend on values"),
        ("wrong_shape", ImportOptions(), "the model raised RuntimeError"),
        ("classifier", ImportOptions(Optimizer("sgd")), "training needs a loss"),
        ("own", ImportOptions(Optimizer("sgd"), loss="cross_entropy"), "single number"),
    ],
)
def test_what_cannot_be_traced_points_to_the_user(
    models: Path, name: str, options: ImportOptions, message: str
) -> None:
    with pytest.raises(JogakError, match=message) as caught:
        import_program(f"{models}:{name}", options)
    assert caught.value.hint
    if message != "single number":
        assert str(models) in str(caught.value.where)


def test_every_unsupported_op_is_listed_with_its_line(models: Path) -> None:
    lines = models.read_text().splitlines()
    with pytest.raises(JogakError, match="2 ops are not supported") as caught:
        import_program(f"{models}:unsupported", ImportOptions())
    for name, text in (("aten._cdist_forward", "torch.cdist"), ("aten.cummax", "torch.cummax")):
        line = next(i for i, each in enumerate(lines, 1) if text in each)
        assert f"{name}: {models}:{line}" in caught.value.message


def test_two_imports_are_the_same(models: Path) -> None:
    first, second = (import_program(f"{models}:own", ImportOptions(Optimizer("sgd"))) for _ in range(2))
    assert first.module.operation.get_asm() == second.module.operation.get_asm()
    assert first.weights is not None
    assert second.weights is not None
    assert all(torch.equal(value, second.weights[name]) for name, value in first.weights.items())
