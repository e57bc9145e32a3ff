"""Sharding and recomputation decided together, or one after the other: `python bench/joint.py [BUDGET ...]`.

A GPT-2 of 4 layers on 4 devices with AdamW. For each budget of a device, time of a step of the plan by

together: what `jogak compile --memory BUDGET` takes; share: of the activations that it was searched with, "none" for
    the fastest plan without a limit.
first: the largest share of activations for which the search has a plan, then recomputation (what came before prices).
shard: the search within the budget, nothing recomputed.
then: the fastest plan without a budget, then recomputation to the budget.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from torch_mlir import ir

from jogak.autoshard.driver import SearchReport, search_program
from jogak.autoshard.joint import NO_LIMIT, Candidate, Measured
from jogak.autoshard.meshes import meshes
from jogak.autoshard.plan import SearchOptions
from jogak.autoshard.realize import Partitioned, realize
from jogak.compiler import Compilation, compile_configuration
from jogak.configuration import Configuration
from jogak.cost.model import CostModel, cost_model
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ir.diagnostics import PassFailed
from jogak.ir.pipelines import partition_pipeline
from jogak.memory.budget import parse_budget
from jogak.registry import default_registry
from jogak.sharding.mesh import Mesh

MODEL = "zoo:gpt2?layers=4&heads=8&width=512&vocab=8192&context=128&sequence=128&batch=32"
BUDGETS = ("180MiB", "160MiB", "150MiB", "145MiB")


class Bench:
    """The normalized program and what prices it."""

    def __init__(self) -> None:
        options = ImportOptions(Optimizer("adamw"))
        self.made: Compilation = compile_configuration(Configuration(MODEL, "4", options), stop_after="normalize")

    def price(self, mesh: Mesh) -> CostModel:
        """The cost model on a mesh."""
        return cost_model(self.made.configuration.cost_model, self.made.cost.machine, mesh, default_registry())

    def realize(self, module: ir.Module, limit: int) -> tuple[Measured, Partitioned]:
        """What becomes of an annotated program."""
        return realize(module, self.price, limit, partition_pipeline(), default_registry())

    def search(self, limit: float | None, budget: int) -> tuple[SearchReport, ir.Module]:
        """The search with a limit, and the annotated program."""
        module = self.made.program.operation.clone()
        measure = None if limit is None else (lambda module: self.realize(module, budget))
        options = SearchOptions(limit)
        found = search_program(
            module, list(meshes(4)), self.price, [], default_registry().rules(), replace(options), realize=measure
        )
        return found, module


def told(measured: Measured | None) -> str:
    """Milliseconds of a step, and how much of it is computed again."""
    if measured is None or not measured.fits:
        return "infeasible"
    return f"{1e3 * measured.total_s:.3f} ({1e3 * measured.added_s:.3f})"


def row(bench: Bench, text: str) -> str:
    """The cells of a budget."""
    budget = parse_budget(text, 0, "budget")
    _, module = bench.search(None, budget)
    then, _ = bench.realize(module, budget)
    try:
        report, module = bench.search(budget, budget)
    except PassFailed:
        return " | ".join([text, "infeasible", "-", "infeasible", "infeasible", told(then), "-"])
    joint = report.joint
    together = joint.best.measured if joint else bench.realize(module, budget)[0]
    tried: list[Candidate] = list(joint.tried) if joint else []
    shared = [candidate for candidate in tried if candidate.share != NO_LIMIT]
    possible = [candidate for candidate in shared if candidate.found[0].plan is not None]
    first = possible[0] if possible else None
    whole = report.found[0].outcome if joint is None and report.recomputed == 1.0 else None
    if first is not None and first.share == 1.0:
        whole = first.found[0].outcome
    shard = "infeasible" if whole is None else f"{1e3 * whole.objective:.3f}"
    before = told(together)
    if first is not None and joint is not None and first is not joint.best:
        least = f"more than {1e3 * first.found[0].outcome.objective:.3f}"
        before = told(first.measured) if first.measured else least
    bound = report.found[0].outcome.lower_bound
    gap = max(together.total_s - bound, 0.0) / together.total_s if together and together.fits else 0.0
    share = "none" if report.recomputed == NO_LIMIT else f"{report.recomputed:.0%}"
    return " | ".join([text, told(together), share, before, shard, told(then), f"{gap:.1%}"])


def main() -> None:
    bench = Bench()
    print("budget | together ms (again) | share | first | shard | then | gap to the bound without a budget")
    for text in sys.argv[1:] or BUDGETS:
        print(row(bench, text), flush=True)


if __name__ == "__main__":
    main()
