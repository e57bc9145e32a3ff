"""What a plan takes in the end: told by the clock that the compiler promises by."""

from __future__ import annotations

import pytest

from jogak.autoshard.realize import realize
from jogak.compiler import compile_configuration
from jogak.configuration import Configuration
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipelines import partition_pipeline
from jogak.partition.prices import Prices
from jogak.registry import default_registry
from jogak.report.promise import promise

MODEL = "zoo:gpt2?layers=2&heads=2&width=64&vocab=128&context=64&batch=16&sequence=64"


@pytest.mark.slow
def test_plans_are_timed_by_the_clock_of_the_promise():
    shard = [("tokens=[data, _]", "test"), ("blocks.*.mlp.*.weight=[data, _]", "test")]
    options = ImportOptions(Optimizer("adamw"))
    made = compile_configuration(Configuration(MODEL, "data=2", options, shard), stop_after="partition")
    peak, step = made.promise.peak_memory_bytes, made.promise.step_time_s
    assert made.device is not None
    module = made.device.operation.clone()
    told, before = realize(module, lambda _: made.cost, int(0.8 * peak), "", default_registry())
    assert told.fits
    assert told.step_s == pytest.approx(step)
    function = main_function(module).operation
    assert "jogak.recompute_of" in str(module)
    assert str(before.module) == str(made.device)
    assert told.total_s == promise(function, made.mesh, made.cost).step_time_s
    prices = Prices(made.cost)
    serial = sum(prices.seconds(view.operation) for view in function.regions[0].blocks[0].operations)
    assert told.total_s < serial


@pytest.mark.slow
def test_the_plan_that_was_measured_is_not_partitioned_again():
    """The program that is kept is the one that the partition phase makes of the annotated program."""
    options = ImportOptions(Optimizer("adamw"))
    asked = Configuration(MODEL, "4", options, searched="mesh", memory="4MiB", micro_batches=1)
    made = compile_configuration(asked, stop_after="partition")
    assert made.search is not None
    assert made.search.partitioned is not None
    assert made.device is made.search.partitioned.module
    again = made.program.operation.clone()
    run_pipeline(again, partition_pipeline(target=asked.target))
    assert str(made.device) == str(again)
