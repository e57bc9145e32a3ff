"""The whole search for one program on one mesh, from its graph to its plan."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from jogak.autoshard.folding import Folding, fold
from jogak.autoshard.given import given_shardings, marks_of, tie_groups
from jogak.autoshard.holds import Lives, find_lives, find_touches
from jogak.autoshard.model import Model, build_model
from jogak.autoshard.sites import find_sites
from jogak.autoshard.solving import (
    Assigned,
    Effort,
    Outcome,
    State,
    assigned,
    impossible,
    solve_free,
    solve_limited,
    with_memory,
)
from jogak.cost.model import CostModel
from jogak.memory.budget import parse_budget
from jogak.sharding.constraints import Seed
from jogak.sharding.graph import Graph

LARGE = 400
"""Ops from which on repeated layers share their decisions; smaller programs are searched without that restriction."""

_CANDIDATE_SECONDS, _CANDIDATE_GAP = 5.0, 0.005
"""Effort for a plan that is measured afterwards."""


@dataclass(frozen=True)
class SearchOptions:
    """How to search.

    Attributes:
        limit: bytes of a device's memory; None for no limit.
        time_limit: seconds for the solver.
        split_heavy: contractions must be split by every axis that can split them.
        recomputed: the share of what ops make that may be alive at once, when the rest is recomputed.
        folded: whether repeated layers share decisions; None: when the program is large.
        target_gap: a plan so near to its bound is good enough.
        measured: whether plans within the limit are measured afterwards, and compete: they need no proof then, since
            what is told of them is the bound without a limit.
    """

    limit: float | None = None
    time_limit: float = 20.0
    split_heavy: bool = False
    recomputed: float = 1.0
    folded: bool | None = None
    target_gap: float = 0.0
    measured: bool = False

    def effort(self, progress: Callable[[State], None] | None) -> Effort:
        """For what is told."""
        return Effort(self.time_limit, self.target_gap, progress)

    def limited_effort(self, progress: Callable[[State], None] | None) -> Effort:
        """For plans within the limit."""
        if not self.measured:
            return self.effort(progress)
        return Effort(min(self.time_limit, _CANDIDATE_SECONDS), max(self.target_gap, _CANDIDATE_GAP), progress)


def memory_limit(budget: str, machine_bytes: int) -> float:
    """Bytes that plans may use: a budget in bytes, or the machine's memory for one that is relative to a plan."""
    if budget in ("auto", "min") or budget.endswith("x"):
        return float(machine_bytes)
    return float(min(parse_budget(budget, 0, "--memory"), machine_bytes))


@dataclass(frozen=True)
class Program:
    """What a search needs to know of a program, whatever the mesh; read once for all of them.

    Attributes:
        graph: the program.
        lives: when its values are held.
    """

    graph: Graph
    lives: Lives
    _foldings: dict[Hashable, Folding] = field(default_factory=dict)

    @cached_property
    def touches(self) -> dict[int, list[int]]:
        """For each value that has bytes of its own the nodes that need them."""
        return find_touches(self.graph)

    @staticmethod
    def of(graph: Graph) -> Program:
        return Program(graph, find_lives(graph))

    def folding(self, seeds: Sequence[Seed], folded: bool | None) -> Folding:
        """What may share a decision under some constraints."""
        marks = marks_of(seeds)
        layers = len(self.graph.nodes) >= LARGE if folded is None else folded
        key = layers, tuple(sorted(marks.items()))
        if key not in self._foldings:
            self._foldings[key] = fold(self.graph, marks, layers=layers)
        return self._foldings[key]


@dataclass
class Posed:
    """What searches with different shares of recomputation have in common on one mesh.

    Attributes:
        program: what is searched.
        whole: the problem without recomputation.
        free: its best plan without a limit; None before it was searched to its end.
        near: the last plan that was found within a limit: where to start the next time.
    """

    program: Program
    whole: Model
    free: Outcome | None = None
    near: Outcome | None = None

    def with_share(self, share: float) -> Model:
        """The problem when only a share of what ops make is alive at once: only its memory differs."""
        if share == 1:
            return self.whole
        return replace(self.whole, holds=self.whole.holds.with_share(share, self.program.touches))


def pose(program: Program | Graph, cost: CostModel, seeds: Sequence[Seed], options: SearchOptions) -> Posed:
    """The priced problem of a program under the user's constraints."""
    if isinstance(program, Graph):
        program = Program.of(program)
    folding = program.folding(seeds, options.folded)
    sites = find_sites(folding, cost.mesh, given_shardings(program.graph, cost.mesh, seeds))
    model = build_model(sites, cost, program.lives, split_heavy=options.split_heavy)
    tie_groups(model, seeds)
    return Posed(program, model)


def search_plan(
    program: Program | Graph,
    cost: CostModel,
    seeds: Sequence[Seed] = (),
    options: SearchOptions | None = None,
    progress: Callable[[State], None] | None = None,
) -> tuple[Model, Outcome, Assigned | None]:
    """Find the best plan of a program: the problem, what the solver says, and the plan; None when nothing fits."""
    options = options or SearchOptions()
    return search_posed(pose(program, cost, seeds, options), options, progress)


def search_posed(
    posed: Posed, options: SearchOptions, progress: Callable[[State], None] | None = None
) -> tuple[Model, Outcome, Assigned | None]:
    """The same for a problem that is posed; it learns its best plan without a limit."""
    model = posed.with_share(options.recomputed)
    if options.limit is not None and model.holds.least()[0] > options.limit:
        return model, impossible(model), None
    if posed.free is None:
        free = solve_free(model, options.effort(progress))
        posed.free = None if free.interrupted else free
    else:
        free = with_memory(posed.free, model)
    outcome = solve_limited(model, options.limited_effort(progress), options.limit, free, near=posed.near)
    if outcome.choice is None:
        return model, outcome, None
    posed.near = outcome
    return model, outcome, assigned(model, outcome.choice)
