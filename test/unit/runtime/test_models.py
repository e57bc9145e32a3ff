"""Whole models, executed op by op, equal PyTorch: inference and training."""

from __future__ import annotations

import pytest
import torch

from jogak.ingress.importer import import_program
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ingress.reference import initial_values, run_reference
from jogak.runtime.program import load_program
from jogak.runtime.simulator import execute

MODELS = {
    "gpt2": "zoo:gpt2?layers=1&width=32&heads=4&vocab=64&context=16&sequence=16&batch=2",
    "resnet": "zoo:resnet?depth=18&width=4&image=32&classes=10&batch=2",
}


@pytest.mark.parametrize("model", ["gpt2", pytest.param("resnet", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["inference", "sgd", "adamw"])
def test_equals_pytorch(model: str, kind: str) -> None:
    """In f64, where Adam's division by the gradient's magnitude does not blow up rounding noise."""
    optimizer = {"inference": None, "sgd": Optimizer("sgd"), "adamw": Optimizer("adamw")}[kind]
    options = ImportOptions(optimizer=optimizer, loss="cross_entropy" if model == "resnet" and optimizer else None)
    imported = import_program(MODELS[model], options)
    program = load_program(imported.module)
    values = initial_values(MODELS[model], options)
    got = execute(imported.module, {each.name: values[each.name] for each in program.arguments}, precision="f64")
    expected = run_reference(MODELS[model], options, values, dtype=torch.float64)
    assert {each.role for each in program.results} == ({"output"} if optimizer is None else {"loss", "update"})
    for name, value in got.items():
        torch.testing.assert_close(value, expected[name].to(value.dtype).reshape(value.shape), rtol=1e-9, atol=1e-8)


def test_single_precision_equals_pytorch() -> None:
    options = ImportOptions()
    imported = import_program(MODELS["gpt2"], options)
    values = initial_values(MODELS["gpt2"], options)
    names = [argument.name for argument in load_program(imported.module).arguments]
    (got,) = execute(imported.module, {name: values[name] for name in names}).values()
    (expected,) = run_reference(MODELS["gpt2"], options, values).values()
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
