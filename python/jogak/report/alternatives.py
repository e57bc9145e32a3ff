"""What else the search could have chosen for a value, and what the whole plan would cost then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from torch_mlir import ir

from jogak.autoshard.joint import NO_LIMIT
from jogak.autoshard.model import Model
from jogak.autoshard.plan import SearchOptions, memory_limit, pose
from jogak.autoshard.sites import OpSite, StoredSite
from jogak.autoshard.solving import Effort, Outcome, solve_model
from jogak.configuration import Configuration
from jogak.registry import registry_of
from jogak.report.prices import cost_of
from jogak.sharding.annotation import read_constraints
from jogak.sharding.reading import read_graph
from jogak.text import duration, size

_SHOWN = 6
_SECONDS = 5.0


@dataclass(frozen=True)
class Searched:
    """A search that was done again, for questions about it.

    Attributes:
        model: the priced problem.
        outcome: its solution.
        limit: bytes of memory that plans may use; infinite where the plan was searched without a limit.
    """

    model: Model
    outcome: Outcome
    limit: float


def search_again(function: ir.Operation, manifest: Mapping[str, Any]) -> Searched:
    """Pose and solve the problem of an annotated program as its compilation did."""
    configuration = Configuration.from_json(manifest["configuration"])
    mesh, cost = cost_of(manifest)
    reading = read_graph(function, registry_of(configuration.plugins).rules())
    limit = memory_limit(configuration.memory, cost.machine.device.memory_bytes)
    posed = pose(reading.graph, cost, read_constraints(function, reading, mesh), SearchOptions(limit))
    share = manifest["search"]["recomputed_share"]
    if share == NO_LIMIT:
        share, limit = 1.0, inf
    model = posed.with_share(share)
    return Searched(model, solve_model(model, Effort(_SECONDS), limit=limit), limit)


def alternatives(searched: Searched, value: int) -> Iterator[str]:
    """Lines that tell why a value lies as it does: what it costs to choose otherwise, all else at its best."""
    model, outcome = searched.model, searched.outcome
    if outcome.choice is None:
        return
    decision, _ = model.sites.home(value)
    site = model.sites.sites[decision]
    count = model.sites.alike[decision]
    alike = f", one decision for {count} repeated layers" if count > 1 else ""
    yield f"chosen by the search{alike}"
    if len(site) < 2:
        yield "  there is no other choice"
        return
    yield "  chosen otherwise, with all else at its best then, a step takes:"
    priced = sorted(_priced(searched, decision, site), key=lambda entry: entry[0])
    for seconds, text in priced[:_SHOWN]:
        yield f"    {text:40} {_told(seconds, outcome.objective)}"
    if len(priced) > _SHOWN:
        yield f"    and {len(priced) - _SHOWN} more choices, none of them better"
    if outcome.peak_bytes > 0.9 * searched.limit:
        yield f"  memory binds: {size(outcome.peak_bytes)} of {size(searched.limit)}"


def _priced(searched: Searched, decision: int, site: OpSite | StoredSite) -> Iterator[tuple[float, str]]:
    choice = searched.outcome.choice or ()
    options = site.shardings if isinstance(site, StoredSite) else site.strategies
    for state, option in enumerate(options):
        if state != choice[decision]:
            near = replace(searched.outcome, choice=(*choice[:decision], state, *choice[decision + 1 :]))
            fixed = solve_model(
                searched.model, Effort(_SECONDS), limit=searched.limit, fixed={decision: [state]}, near=near
            )
            yield (fixed.objective if fixed.choice is not None else float("inf")), str(option)


def _told(seconds: float, best: float) -> str:
    if seconds == float("inf"):
        return "impossible: it does not fit, or no plan has it"
    more = seconds - best
    return f"{duration(seconds)} (+{duration(max(more, 0.0))}, +{max(more, 0.0) / best:.2%})"
