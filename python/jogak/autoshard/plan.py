"""The whole search for one program on one mesh, from its graph to its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from jogak.autoshard.folding import fold
from jogak.autoshard.model import Model, build_model
from jogak.autoshard.sites import find_sites
from jogak.autoshard.solving import Assigned, Outcome, assigned, solve_model
from jogak.autoshard.strategies import placements
from jogak.cost.model import CostModel
from jogak.memory.budget import parse_budget
from jogak.search.incumbent import Progress
from jogak.sharding.constraints import Seed
from jogak.sharding.graph import Graph
from jogak.sharding.sharding import Sharding

LARGE = 400
"""Ops from which on repeated layers share their decisions; smaller programs are searched without that restriction."""


@dataclass(frozen=True)
class SearchOptions:
    """How to search.

    Attributes:
        limit: bytes of a device's memory; None for no limit.
        time_limit: seconds for the solver.
        split_heavy: contractions must be split by every axis that can split them.
        recomputed: the share of what ops make that may be alive at once, when the rest is recomputed.
        folded: whether repeated layers share decisions; None: when the program is large.
    """

    limit: float | None = None
    time_limit: float = 20.0
    split_heavy: bool = False
    recomputed: float = 1.0
    folded: bool | None = None


def memory_limit(budget: str, machine_bytes: int) -> float:
    """Bytes that plans may use: a budget in bytes, or the machine's memory for one that is relative to a plan."""
    if budget in ("auto", "min") or budget.endswith("x"):
        return float(machine_bytes)
    return float(min(parse_budget(budget, 0, "--memory"), machine_bytes))


def pose(graph: Graph, cost: CostModel, seeds: Sequence[Seed], options: SearchOptions) -> Model:
    """The priced problem of a program under the user's constraints."""
    mesh = cost.mesh
    sites = find_sites(graph, mesh, given_shardings(graph, cost, seeds))
    large = len(graph.nodes) >= LARGE if options.folded is None else options.folded
    decision = fold(sites) if large else list(range(len(sites.sites)))
    model = build_model(sites, decision, cost, split_heavy=options.split_heavy)
    if options.recomputed < 1:
        arguments = set(graph.arguments)
        model.holds = [
            hold if hold.value in arguments else replace(hold, bytes=options.recomputed * hold.bytes)
            for hold in model.holds
        ]
    return model


def search_plan(
    graph: Graph,
    cost: CostModel,
    seeds: Sequence[Seed] = (),
    options: SearchOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[Model, Outcome, Assigned | None]:
    """Find the best plan of a program: the problem, what the solver says, and the plan; None when nothing fits."""
    options = options or SearchOptions()
    model = pose(graph, cost, seeds, options)
    outcome = solve_model(model, limit=options.limit, time_limit=options.time_limit, progress=progress)
    return model, outcome, None if outcome.choice is None else assigned(model, outcome.choice)


def given_shardings(graph: Graph, cost: CostModel, seeds: Sequence[Seed]) -> Mapping[int, tuple[Sharding, ...]]:
    """For each constrained value the shardings that its constraint leaves."""
    found: dict[int, tuple[Sharding, ...]] = {}
    for seed in seeds:
        exact = Sharding(tuple(dim.axes for dim in seed.dims))
        options = dict.fromkeys([exact, *placements(graph.values[seed.value].shape, cost.mesh)])
        found[seed.value] = tuple(each for each in options if _fits(each, seed))
    return found


def _fits(sharding: Sharding, seed: Seed) -> bool:
    return all(
        axes[: len(dim.axes)] == dim.axes and (dim.open or axes == dim.axes)
        for axes, dim in zip(sharding.dims, seed.dims, strict=True)
    )
