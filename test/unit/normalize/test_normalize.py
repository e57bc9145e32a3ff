"""The whole phase on real models: what it leaves, and that it computes the same."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor
from torch_mlir import ir

import jogak.passes
from jogak.ingress.importer import import_program
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ir.context import new_context, parse_module
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipelines import NORMALIZE
from jogak.registry import Registry
from jogak.runtime.simulator import execute
from jogak.sharding.annotation import read_arguments
from jogak.targets.distributed.rank.layout import logical, stored

TRAINED = {
    "gpt2": "zoo:gpt2?layers=2&width=32&heads=4&vocab=64&context=16&sequence=8&batch=2",
    "llama": "zoo:llama?layers=1&width=32&heads=4&kv_heads=2&hidden=48&vocab=64&sequence=8&batch=2",
    "fused": "zoo:llama?layers=1&width=32&heads=4&kv_heads=2&hidden=48&vocab=64&sequence=8&batch=2&fused=true",
    "moe": "zoo:moe?layers=1&width=32&heads=4&hidden=48&experts=4&vocab=64&sequence=8&batch=2",
    "resnet": "zoo:resnet?depth=18&image=16&batch=2&width=4&classes=4",
}
ALLOWED = {
    "linalg.generic", "linalg.fill", "tensor.empty", "tensor.expand_shape", "tensor.collapse_shape",
    "tensor.extract_slice", "tensor.insert_slice", "tensor.pad", "tensor.concat", "arith.constant", "func.return",
}  # fmt: skip


@cache
def imported(name: str) -> str:
    options = ImportOptions(optimizer=Optimizer("adamw"), loss="cross_entropy")
    module = import_program(TRAINED[name], options).module
    return str(module.operation.get_asm(enable_debug_info=True))


def normalized(name: str) -> ir.Module:
    registry = Registry()
    registry.add(jogak.passes.plugin, "jogak")
    module = parse_module(imported(name), new_context())
    run_pipeline(module, NORMALIZE, registry=registry)
    return module


def operations(module: ir.Module) -> list[ir.Operation]:
    return [op.operation for op in main_function(module).regions[0].blocks[0].operations]


def arguments(module: ir.Module) -> dict[str, ir.RankedTensorType]:
    function = main_function(module)
    types = function.attributes["function_type"].value.inputs
    names = [attributes["jogak.name"].value for attributes in function.attributes["arg_attrs"]]
    return dict(zip(names, types, strict=True))


def random_inputs(module: ir.Module) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        name: torch.rand(tuple(kind.shape), dtype=torch.float64)
        if isinstance(kind.element_type, ir.FloatType)
        else torch.randint(0, 2, tuple(kind.shape))
        for name, kind in arguments(module).items()
    }


@pytest.mark.parametrize("name", TRAINED)
def test_computes_the_same(name: str) -> None:
    before = parse_module(imported(name), new_context())
    after = normalized(name)
    inputs = random_inputs(before)
    expected = execute(before, inputs, precision="f64")
    layouts = {each.name: each.layout() for each in read_arguments(main_function(after).operation)}
    reshaped = {key: stored(inputs[key], layout) for key, layout in layouts.items()}
    actual = execute(after, reshaped, precision="f64")
    assert list(actual) == list(expected)
    for key, value in expected.items():
        # Python numbers are rounded to the tensor's type, as PyTorch does, which f64 arithmetic shows.
        got = logical(actual[key], layouts[key]) if key in layouts else actual[key]
        torch.testing.assert_close(got.reshape(value.shape), value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", TRAINED)
def test_leaves_only_known_operations_with_places(name: str) -> None:
    module = normalized(name)
    strange = {op.name for op in operations(module) if not op.name.startswith("tm_tensor.")} - ALLOWED
    assert not strange
    places = [str(op.location) for op in operations(module) if op.name == "linalg.generic"]
    assert "loc(unknown)" not in places


@pytest.mark.parametrize("name", TRAINED)
def test_gathers_are_alone(name: str) -> None:
    module = normalized(name)
    for op in operations(module):
        if op.name != "linalg.generic":
            continue
        body = [inner.operation for inner in op.regions[0].blocks[0].operations]
        extracts = [inner for inner in body if inner.name == "tensor.extract"]
        if extracts:
            assert len(extracts) == 1
            assert list(body[-1].operands) == [extracts[0].results[0]]


@pytest.mark.parametrize("name", TRAINED)
def test_updates_have_the_type_of_their_argument(name: str) -> None:
    module = normalized(name)
    function = main_function(module)
    kind = function.attributes["function_type"].value
    updates = [
        (kind.inputs[attributes["jogak.updates"].value], result)
        for attributes, result in zip(function.attributes["res_attrs"], kind.results, strict=True)
        if "jogak.updates" in attributes
    ]
    assert updates
    assert all(before == after for before, after in updates)


def test_fused_projection_is_exposed_with_heads_as_loops() -> None:
    module = normalized("gpt2")
    shapes = {name: tuple(kind.shape) for name, kind in arguments(module).items()}
    exposed = [name for name, shape in shapes.items() if shape == (3, 32, 32)]
    assert len(exposed) == 2 * 3  # the weight and its two moments, in both layers
    slices = [op for op in operations(module) if op.name == "tensor.extract_slice"]
    assert sum(tuple(op.results[0].type.shape) == (2, 8, 4, 8) for op in slices) == 2 * 3


def test_unequal_projection_has_key_heads_as_shares() -> None:
    module = normalized("fused")
    shapes = {name: tuple(kind.shape) for name, kind in arguments(module).items()}
    assert shapes["blocks.0.attn.qkv.weight"] == shapes["exp_avg.blocks.0.attn.qkv.weight"] == (2, 32, 32)
    slices = [tuple(op.results[0].type.shape) for op in operations(module) if op.name == "tensor.extract_slice"]
    assert (2, 8, 2, 2, 8) in slices
    assert slices.count((2, 8, 2, 8)) == 2


@pytest.mark.parametrize("name", ["gpt2", "fused"])
def test_is_idempotent(name: str) -> None:
    registry = Registry()
    registry.add(jogak.passes.plugin, "jogak")
    module = normalized(name)
    before = (len(operations(module)), arguments(module))
    run_pipeline(module, NORMALIZE, registry=registry)
    assert (len(operations(module)), arguments(module)) == before
