"""Grouped-query attention with fewer key and value heads than devices: sub-axes of one mesh axis."""

from __future__ import annotations

import pytest

from jogak.compiler import Compilation, compile_configuration
from jogak.configuration import Configuration
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ir.grid import declare_mesh
from jogak.ir.module import main_function
from jogak.report.manifest import build_manifest
from jogak.sharding.annotation import read_arguments, write_constraints
from jogak.sharding.constraints import Constraint, axes_of, resolve
from jogak.sharding.mesh import Mesh
from jogak.testing.equality import Verdict, prepare, run_sharded

LAYERS = 2
MODEL = f"zoo:llama?layers={LAYERS}&heads=8&kv_heads=2&width=64&hidden=128&vocab=96&sequence=16&batch=4"


def megatron(kv: str) -> list[str]:
    """Heads and feed-forward split, keys and values as given."""
    return [
        "blocks.*.attn.q.weight=[model, _]",
        f"blocks.*.attn.k.weight=[{kv}, _]",
        f"blocks.*.attn.v.weight=[{kv}, _]",
        "blocks.*.attn.proj.weight=[_, model]",
        "blocks.*.mlp.gate.weight=[model, _]",
        "blocks.*.mlp.up.weight=[model, _]",
        "blocks.*.mlp.down.weight=[_, model]",
    ]


def run(constraints: list[str], mesh: str, *, training: bool) -> Verdict:
    """Shard as given, simulate all devices, compare with PyTorch."""
    prepared = prepare(MODEL, training, None)
    module = prepared.module.operation.clone()
    function = main_function(module).operation
    read = [Constraint.parse(text) for text in constraints]
    placed = Mesh.parse(mesh).cut_for(axes_of(read))
    declare_mesh(module, placed)
    write_constraints(function, resolve(read, read_arguments(function), placed))
    return run_sharded(module, prepared, placed, training, None)


def by_axis(verdict: Verdict) -> dict[tuple[str, str], int]:
    """Collectives by kind and axes, as the simulator counted them."""
    return {
        (kind, axes): entry["count"] for kind, row in verdict.counted.items() for axes, entry in row["by_axis"].items()
    }


def test_two_heads_on_four_devices_need_no_collective_of_their_own() -> None:
    """Query heads lie on all of the axis, keys and values on its first half, copied along the second."""
    verdict = run(megatron("model:(1)2"), "model=4", training=False)
    assert verdict.error <= 1e-5
    assert verdict.promised == verdict.counted
    assert by_axis(verdict) == {("all_reduce", "model"): 2 * LAYERS}


def test_training_sums_over_the_copies() -> None:
    verdict = run(megatron("model:(1)2"), "model=4", training=True)
    assert verdict.error <= 1e-5
    assert verdict.promised == verdict.counted
    assert by_axis(verdict) == {
        ("all_reduce", "model"): 4 * LAYERS,
        ("all_reduce", "model:(2)2"): LAYERS,  # keys and values: each copy has the gradient of its query heads
        ("all_reduce", "model:(1)2"): LAYERS,
    }


@pytest.mark.parametrize("mesh", ["model=4", "data=2,model=4", "model=8"])
def test_weights_split_over_the_whole_axis_are_equal_too(mesh: str) -> None:
    batch = ["tokens=[data, _]"] if "data" in mesh else []
    verdict = run([*megatron("model"), *batch], mesh, training=False)
    assert verdict.error <= 1e-5
    assert verdict.promised == verdict.counted


@pytest.fixture(scope="module")
def compiled() -> Compilation:
    requests = [(text, "--shard") for text in megatron("model:(1)2")]
    return compile_configuration(Configuration(MODEL, "model=4", ImportOptions(Optimizer("sgd")), requests))


def test_people_are_told_of_the_axes_that_they_named(compiled: Compilation) -> None:
    manifest = build_manifest(compiled)
    assert manifest["mesh"] == {"axes": ["model"], "shape": [4], "devices": 4, "parts": {"model": [2, 2]}}
    placed = {each["name"]: each["sharding"] for each in manifest["arguments"]}
    assert placed["blocks.0.attn.q.weight"] == "[model, _]"
    assert placed["blocks.0.attn.k.weight"] == "[model:(1)2, _]"
    axes = {axes for row in manifest["predicted"]["collectives"].values() for axes in row["by_axis"]}
    assert axes == {"model", "model:(1)2", "model:(2)2"}
    assert list(manifest["predicted"]["machine"]["axes"]) == ["model"]
    assert manifest["warnings"] == []


def test_heads_that_the_axis_does_not_divide_are_told() -> None:
    model = "zoo:llama?layers=1&heads=6&kv_heads=3&width=48&hidden=64&vocab=96&sequence=16&batch=4"
    requests = [("blocks.*.attn.q.weight=[model, _]", "--shard")]
    made = compile_configuration(Configuration(model, "model=4", ImportOptions(None), requests))
    (warning,) = [each.render() for each in made.diagnostics]
    assert "mesh axis 'model' splits dimension" in warning
    assert "4 devices do not divide the 3 of 3x2x8" in warning


@pytest.mark.slow
def test_the_search_finds_it_where_it_pays() -> None:
    """A short prompt is bound by reading the weights, so they are split: as many heads of each kind as there are."""
    model = "zoo:llama?layers=1&heads=32&kv_heads=2&width=2048&hidden=5632&vocab=96&sequence=32&batch=1"
    made = compile_configuration(
        Configuration(model, "model=4", ImportOptions(None), [], machine="a100-80g", searched="plan")
    )
    manifest = build_manifest(made)
    placed = {each["name"]: each["sharding"] for each in manifest["arguments"]}
    assert placed["blocks.0.attn.q.weight"] == "[model, _]"
    assert placed["blocks.0.attn.k.weight"] == placed["blocks.0.attn.v.weight"] == "[model:(1)2, _]"
    tried = {each["mesh"]: each["objective"] for each in manifest["search"]["meshes"]}
    assert tried["model:(1)2=2,model:(2)2=2"] < 0.99 * tried["model=4"]
