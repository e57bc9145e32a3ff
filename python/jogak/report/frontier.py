"""Time against memory: the same program under budgets from the least that was found to what it takes by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jogak.configuration import Configuration
from jogak.cost.machine_file import load_machine
from jogak.cost.model import cost_model
from jogak.ir.context import new_context, parse_file
from jogak.ir.module import main_function
from jogak.ir.options import format_value
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipelines import partition_pipeline
from jogak.memory.fit import Fit, fit, fit_least
from jogak.memory.offsets import place
from jogak.memory.reading import read_tape
from jogak.memory.tape import Tape
from jogak.registry import default_registry
from jogak.report.manifest import file_of
from jogak.report.promise import op_seconds
from jogak.sharding.mesh import Mesh


def frontier_of(folder: Path, manifest: Mapping[str, Any], points: int, time_limit: float) -> dict[str, Any]:
    """The frontier of a folder's program, before anything was recomputed in it.

    Raises:
        JogakError: the folder is incomplete.
    """
    tape = tape_of(folder, manifest)
    step = sum(each.seconds for each in tape.steps)
    found = solve_points(tape, points, time_limit)
    return {
        "step_time_s": step,
        "peak_bytes": place(tape).arena,
        "resident_bytes": tape.resident,
        "minimum_bound_bytes": found[0].minimum_bound,
        "points": [_point(each, tape, step) for each in found],
    }


def tape_of(folder: Path, manifest: Mapping[str, Any]) -> Tape:
    """The tape of a folder's whole program, partitioned again."""
    configuration = Configuration.from_json(manifest["configuration"])
    mesh = Mesh.from_json(manifest["mesh"])
    cost = cost_model(configuration.cost_model, load_machine(configuration.machine), mesh, default_registry())
    module = parse_file(file_of(folder, manifest["modules"]["program"]), new_context())
    machine, model = format_value(configuration.machine), format_value(configuration.cost_model)
    run_pipeline(module, partition_pipeline(f"machine={machine} cost-model={model}"))
    return read_tape(main_function(module).operation, lambda op: op_seconds(op, mesh, cost)).tape


def solve_points(tape: Tape, points: int, time_limit: float) -> list[Fit]:
    """Plans for evenly spaced budgets, smallest first; a larger one never takes more time."""
    least = fit_least(tape, time_limit=4 * time_limit)
    low, high = least.placement.arena, place(tape).arena
    found: list[Fit] = []
    for number in range(points):
        budget = low + (high - low) * number // (points - 1)
        known = found[-1] if found else least
        plan = fit(tape, budget, time_limit=time_limit)
        found.append(plan if plan.fits and plan.added_seconds <= known.added_seconds else known)
    return found


def _point(plan: Fit, tape: Tape, step: float) -> dict[str, Any]:
    return {
        "memory_bytes": plan.placement.arena,
        "added_time_s": plan.added_seconds,
        "added_time_percent": 100 * plan.added_seconds / step if step else 0.0,
        "lower_bound_percent": 100 * plan.bound_seconds / step if step else 0.0,
        "recomputed_ops": len(plan.sequence) - len(tape.steps),
    }
