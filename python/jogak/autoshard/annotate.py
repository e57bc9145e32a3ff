"""A plan in the IR: shardings, strategies, and what the search says of the whole."""

from __future__ import annotations

from collections.abc import Mapping

from torch_mlir import ir

from jogak.autoshard.model import Model
from jogak.autoshard.solving import Assigned, Outcome
from jogak.sharding.annotation import annotate, write_strategies
from jogak.sharding.reading import Reading

SEARCH = "jogak.search"


def annotate_plan(
    module: ir.Module, function: ir.Operation, reading: Reading, outcome: Outcome, plan: Assigned, model: Model
) -> None:
    """Write the plan on every argument and op, and its price on the module."""
    annotate(function, reading, plan.shardings, model.sites.mesh)
    write_strategies(reading, plan.strategies, model.sites.mesh)
    told = {
        "objective": outcome.objective,
        "lower_bound": outcome.lower_bound,
        "compute_time_s": outcome.compute_s,
        "communication_time_s": outcome.communication_s,
        "peak_memory_bytes": outcome.peak_bytes,
        "variables": float(outcome.variables),
        "sites": float(sum(model.sites.alike)),
    }
    with module.context:
        entries = {name: ir.FloatAttr.get_f64(value) for name, value in told.items()}
        module.operation.attributes[SEARCH] = ir.DictAttr.get(entries)


def read_search(module: ir.Module) -> Mapping[str, float] | None:
    """What a search wrote on the module; None where none ran."""
    if SEARCH not in module.operation.attributes:
        return None
    entries = ir.DictAttr(module.operation.attributes[SEARCH])
    return {entry.name: float(ir.FloatAttr(entry.attr).value) for entry in entries}
