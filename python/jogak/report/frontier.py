"""Time against memory: the same program under budgets from the least that was found to what it takes by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch_mlir import ir

from jogak.configuration import Configuration
from jogak.ir.context import new_context, parse_file
from jogak.ir.module import main_function
from jogak.ir.options import format_value
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipelines import partition_pipeline
from jogak.memory.fit import Fit, fit, fit_least
from jogak.memory.offsets import place
from jogak.memory.reading import Seconds, read_tape
from jogak.memory.split import Solve, fit_split
from jogak.partition.prices import Prices
from jogak.registry import registry_of
from jogak.report.manifest import file_of
from jogak.report.prices import cost_of


def frontier_of(folder: Path, manifest: Mapping[str, Any], points: int, time_limit: float) -> dict[str, Any]:
    """The frontier of a folder's program, before anything was recomputed in it.

    Raises:
        JogakError: the folder is incomplete.
    """
    configuration = Configuration.from_json(manifest["configuration"])
    _, cost = cost_of(manifest)
    module = parse_file(file_of(folder, manifest["modules"]["program"]), new_context())
    machine, model = format_value(configuration.machine), format_value(configuration.cost_model)
    pipeline = partition_pipeline(f"machine={machine} cost-model={model}", configuration.target)
    run_pipeline(module, pipeline, registry=registry_of(configuration.plugins))
    return frontier_points(module, Prices(cost).seconds, points, time_limit)


def frontier_points(module: ir.Module, seconds: Seconds, points: int, time_limit: float) -> dict[str, Any]:
    """Time against memory of a per-device program, for budgets from the least that was found to no recomputation.

    Args:
        module: the program; it stays as it is.
        seconds: how long an op takes.
        points: how many budgets.
        time_limit: seconds for each of them.

    Returns:
        `step_time_s`, `peak_bytes` and `resident_bytes` of the program by itself, `minimum_bound_bytes` that no plan
        goes below, and `points`, smallest memory first: `memory_bytes`, `added_time_s`, `added_time_percent`,
        `lower_bound_percent` (of plans that keep the order of first computations), `recomputed_ops`. A point with more
        memory never takes more time.
    """
    tape = read_tape(main_function(module).operation, seconds).tape
    step = tape.seconds

    def solved(solve: Solve, limit: float, least: bool = False) -> tuple[Fit, float, int]:
        copy = module.operation.clone()
        function = main_function(copy).operation
        reading, plan = fit_split(function, read_tape(function, seconds), solve, limit, least=least)
        added = sum(reading.tape.steps[number].seconds for number in plan.sequence) - step
        return plan, added, len(plan.sequence) - len(reading.tape.steps)

    best = solved(lambda t, limit: fit_least(t, time_limit=limit), 4 * time_limit, least=True)
    low, high = best[0].placement.arena, place(tape).arena
    found: list[tuple[Fit, float, int]] = []
    for number in range(points):
        budget = low + (high - low) * number // (points - 1)
        plan = solved(lambda t, limit: fit(t, budget, time_limit=limit), time_limit)  # noqa: B023
        best = plan if plan[0].fits and plan[1] <= best[1] else best
        found.append(best)
    return {
        "step_time_s": step,
        "peak_bytes": high,
        "resident_bytes": tape.resident,
        "minimum_bound_bytes": found[0][0].minimum_bound,
        "points": [_point(*each, step) for each in found],
    }


def _point(plan: Fit, added: float, again: int, step: float) -> dict[str, Any]:
    return {
        "memory_bytes": plan.placement.arena,
        "added_time_s": added,
        "added_time_percent": 100 * added / step if step else 0.0,
        "lower_bound_percent": 100 * plan.bound_seconds / step if step else 0.0,
        "recomputed_ops": again,
    }
