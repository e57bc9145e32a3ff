"""The traced graph computes what PyTorch computes: outputs, loss, updates, buffers, all in double precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ingress.program import Program

Compare = Callable[[str, ImportOptions], Program]

ZOO = (
    "zoo:mlp?layers=3&width=16&features=12&batch=4",
    "zoo:gpt2?layers=2&heads=2&width=16&vocab=50&context=16&batch=2&sequence=8",
    "zoo:llama?layers=2&heads=4&kv_heads=2&width=16&hidden=24&vocab=50&batch=2&sequence=8",
    "zoo:bert?layers=1&heads=2&width=16&vocab=50&context=16&batch=2&sequence=8",
    "zoo:vit?layers=1&heads=2&width=16&image=16&patch=4&classes=10&batch=2",
    "zoo:resnet?depth=18&width=4&image=32&classes=10&batch=2",
    "zoo:mobilenet_v2?stages=2&image=32&classes=10&batch=2&width=0.25",
    "zoo:unet?levels=2&width=8&groups=2&image=16&batch=2",
    "zoo:unet?levels=2&width=8&groups=2&image=16&batch=2&upsample=nearest",
    "zoo:moe?layers=1&heads=2&width=16&hidden=24&experts=4&vocab=50&batch=2&sequence=8&balance=0.01",
)
ADAMW = ImportOptions(Optimizer("adamw", weight_decay=0.01))
SGD = ImportOptions(Optimizer("sgd", momentum=0.9, weight_decay=0.1), loss="mse")


@pytest.mark.parametrize("spec", ZOO)
def test_zoo_trains(compare: Compare, spec: str) -> None:
    program = compare(spec, ADAMW)
    assert program.results[0].role == "loss"


@pytest.mark.parametrize("spec", ZOO)
def test_zoo_infers(compare: Compare, spec: str) -> None:
    program = compare(spec, ImportOptions())
    assert {result.role for result in program.results} == {"output"}


@pytest.mark.parametrize("name", ["classifier", "tied", "encoder", "recurrent", "images", "low", "meta"])
def test_user_model_trains_with_momentum(compare: Compare, models: Path, name: str) -> None:
    compare(f"{models}:{name}", SGD)


@pytest.mark.parametrize("name", ["own", "classifier", "tied", "encoder", "recurrent", "images", "low", "meta"])
def test_user_model_infers(compare: Compare, models: Path, name: str) -> None:
    compare(f"{models}:{name}", ImportOptions())


def test_own_loss_buffers_frozen_and_unused(compare: Compare, models: Path) -> None:
    program = compare(f"{models}:own", ADAMW)
    updates = {result.updates for result in program.results if result.updates}
    assert {"average", "calls", "layer.weight", "exp_avg.layer.bias", "optimizer.step"} <= updates
    assert {"frozen", "plain", "unused", "exp_avg.unused"} & updates == set()
    roles = {argument.name: argument.role for argument in program.arguments}
    assert roles["frozen"] == "parameter"
    assert roles["plain"] == roles["average"] == roles["calls"] == "buffer"
    assert "unused" not in roles
    assert sum(name.startswith("constant.") for name in roles) == 1


def test_cross_entropy_of_labels_that_are_ignored(compare: Compare, models: Path) -> None:
    compare(f"{models}:tied", ImportOptions(Optimizer("sgd"), loss="cross_entropy"))


def test_tied_parameter_is_one_argument(compare: Compare, models: Path) -> None:
    program = compare(f"{models}:tied", ImportOptions())
    assert [each.name for each in program.arguments] == ["embedding.weight", "tokens"]
    assert [each.name for each in program.results] == ["output.logits", "output.hidden.0"]
