"""Whole models that the search shards: equal to PyTorch, least known communication, collectives as promised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jogak.autoshard.plan import SearchOptions, search_plan
from jogak.compiler import compile_configuration
from jogak.configuration import Configuration
from jogak.cost.machine_file import load_machine
from jogak.cost.model import Roofline
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ir.grid import declare_mesh
from jogak.ir.module import main_function
from jogak.registry import default_registry
from jogak.sharding.mesh import Mesh
from jogak.sharding.reading import read_graph
from jogak.testing.closed_forms import FORMS, search_form
from jogak.testing.equality import prepare, run_sharded

ROOT = Path(__file__).resolve().parents[2]
EAGER = ROOT / "test" / "unit" / "autoshard" / "eager.toml"
MODELS = (
    "zoo:mlp?layers=3&width=16&features=16&classes=8&batch=8",
    "zoo:gpt2?layers=2&width=32&heads=4&vocab=50&sequence=16&batch=4",
    "zoo:llama?layers=2&width=32&heads=4&kv_heads=2&hidden=64&vocab=64&sequence=16&batch=4",
    "zoo:moe?layers=2&width=32&heads=4&vocab=64&sequence=16&batch=4",
    "zoo:bert?layers=1&width=32&heads=4&vocab=64&sequence=16&batch=4",
    "zoo:unet?image=16&batch=4",
    "zoo:vit?layers=1&width=32&heads=4&image=32&patch=16&classes=8&batch=4",
)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["data=2,model=2", "data=4"])
@pytest.mark.parametrize("model", MODELS)
def test_searched_plans_compute_what_pytorch_does(model, mesh):
    prepared = prepare(model, True, None)
    module = prepared.module.operation.clone()
    declare_mesh(module, Mesh.parse(mesh))
    pipeline = f"builtin.module(jogak-search{{machine={EAGER} split-heavy=true memory=-1}})"
    verdict = run_sharded(module, prepared, Mesh.parse(mesh), True, None, shard=pipeline)
    assert verdict.error < 1e-5
    assert verdict.counted == verdict.promised
    assert verdict.counted  # on this machine every model is worth splitting


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_least_communication_is_found(name):
    form = FORMS[name]
    outcome = search_form(form, str(ROOT / "bench" / "machines" / "alpa.toml"))
    assert outcome.communication_s <= form.known * (1 + 1e-9)
    assert outcome.gap < 1e-6


def test_a_plan_for_more_memory_costs_no_more():
    module = prepare("jogak.testing.count_models:wide_batch_mlp", True, None).module
    graph = read_graph(main_function(module).operation, default_registry().rules()).graph
    cost = Roofline(load_machine(str(ROOT / "bench" / "machines" / "alpa.toml")), Mesh.parse("data=4"))
    found = []
    for limit in (112_000, 110_000, 106_000, 102_000, 98_000, 94_000):
        _, outcome, plan = search_plan(graph, cost, (), SearchOptions(limit, split_heavy=True, time_limit=5))
        assert plan is not None
        assert outcome.peak_bytes <= limit
        found.append(outcome.objective)
    assert found == sorted(found)
    assert found[0] < found[-1] < found[0] + 3  # data parallelism, then ZeRO for one weight and for both


@pytest.mark.slow
def test_search_and_recomputation_meet_a_budget_together():
    options = ImportOptions(Optimizer("adamw"))
    model = "zoo:gpt2?layers=2&width=64&heads=4&vocab=128&sequence=64&batch=32"
    asked = Configuration(model, "data=2,model=2", options, searched="plan")
    free = compile_configuration(asked)
    assert free.promise is not None
    budget = int(0.6 * free.promise.peak_memory_bytes)
    tight = compile_configuration(replace(asked, memory="0.6x"))  # the search knows the bytes
    assert tight.configuration.memory == str(budget)
    assert tight.promise is not None
    assert tight.promise.peak_memory_bytes <= budget
    assert tight.search is not None
    assert tight.search.recomputed < 1
    assert tight.remat is not None
    assert tight.promise.step_time_s >= free.promise.step_time_s
