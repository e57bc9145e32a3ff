"""The whole search for one program on one mesh, from its graph to its plan."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from jogak.autoshard.folding import Folding, fold
from jogak.autoshard.given import given_shardings, marks_of, tie_groups
from jogak.autoshard.holds import Lives, find_lives, find_touches
from jogak.autoshard.model import Model, build_model
from jogak.autoshard.sites import find_sites
from jogak.autoshard.solving import Assigned, Effort, Outcome, State, assigned, solve_model
from jogak.cost.model import CostModel
from jogak.memory.budget import parse_budget
from jogak.sharding.constraints import Seed
from jogak.sharding.graph import Graph

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
        target_gap: a plan so near to its bound is good enough.
    """

    limit: float | None = None
    time_limit: float = 20.0
    split_heavy: bool = False
    recomputed: float = 1.0
    folded: bool | None = None
    target_gap: float = 0.0


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


def pose(program: Program | Graph, cost: CostModel, seeds: Sequence[Seed], options: SearchOptions) -> Model:
    """The priced problem of a program under the user's constraints."""
    if isinstance(program, Graph):
        program = Program.of(program)
    folding = program.folding(seeds, options.folded)
    sites = find_sites(folding, cost.mesh, given_shardings(program.graph, cost.mesh, seeds))
    model = build_model(sites, cost, program.lives, split_heavy=options.split_heavy)
    tie_groups(model, seeds)
    if options.recomputed < 1:
        model.holds = model.holds.with_share(options.recomputed, find_touches(program.graph))
    return model


def search_plan(
    program: Program | Graph,
    cost: CostModel,
    seeds: Sequence[Seed] = (),
    options: SearchOptions | None = None,
    progress: Callable[[State], None] | None = None,
) -> tuple[Model, Outcome, Assigned | None]:
    """Find the best plan of a program: the problem, what the solver says, and the plan; None when nothing fits."""
    options = options or SearchOptions()
    model = pose(program, cost, seeds, options)
    outcome = solve_model(model, Effort(options.time_limit, options.target_gap, progress), limit=options.limit)
    return model, outcome, None if outcome.choice is None else assigned(model, outcome.choice)
