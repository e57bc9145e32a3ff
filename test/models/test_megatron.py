"""Megatron's plan, given by the user: the collectives that it is known for, and no others without a reason."""

from __future__ import annotations

import pytest

from jogak.compiler import Compilation, compile_configuration
from jogak.configuration import Configuration
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ir.diagnostics import source_location
from jogak.ir.module import main_function
from jogak.partition.prices import Collective, collectives_of

LAYERS = 3
MEGATRON = [
    "tokens=[data, _]",
    "target=[data, _]",
    "blocks.*.attn.qkv.weight=[model, _]",
    "blocks.*.attn.proj.weight=[_, model]",
    "blocks.*.mlp.up.weight=[model, _]",
    "blocks.*.mlp.down.weight=[_, model]",
]


@pytest.fixture(scope="module")
def compiled() -> Compilation:
    model = f"zoo:gpt2?layers={LAYERS}&heads=4&width=64&vocab=97&context=32&sequence=32&batch=4"
    options = ImportOptions(Optimizer("adamw"))
    return compile_configuration(
        Configuration(model, "data=2,model=2", options, [(text, "--shard") for text in MEGATRON])
    )


@pytest.fixture(scope="module")
def collectives(compiled: Compilation) -> list[Collective]:
    return list(collectives_of(main_function(compiled.device).operation, compiled.mesh))


def test_two_all_reduces_forward_and_two_backward_per_layer(collectives: list[Collective]) -> None:
    along_model = [each for each in collectives if each.axes == ("model",)]
    assert {each.kind for each in along_model} == {"all_reduce"}
    assert len(along_model) == 4 * LAYERS
    scopes = [source_location(each.op.location).scope for each in along_model]
    for layer in range(LAYERS):
        for module in ("attn.proj", "mlp.down", "mlp.up", "attn.qkv"):
            assert scopes.count(f"blocks.{layer}.{module}") == 1
    forward = [f"blocks.{layer}.{module}" for layer in range(LAYERS) for module in ("attn.proj", "mlp.down")]
    assert scopes[: 2 * LAYERS] == forward


def test_every_other_collective_is_a_reduction_over_the_batch(collectives: list[Collective]) -> None:
    others = [each for each in collectives if each.axes != ("model",)]
    assert {each.axes for each in others} == {("data",)}


def test_every_collective_names_the_users_line(collectives: list[Collective]) -> None:
    for each in collectives:
        place = source_location(each.op.location)
        assert place.file.endswith(("zoo/gpt2.py", "zoo/layers.py")) or place.scope.startswith(("loss", "optimizer"))


def test_weights_lie_as_asked(compiled: Compilation) -> None:
    text = str(compiled.device)
    assert "tensor<3x32x64xf32>" in text  # q, k and v, each split by heads
    assert "tensor<128x64xf32>" in text
    assert "tensor<64x128xf32>" in text
