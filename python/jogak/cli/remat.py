"""`jogak remat`: what to compute again in a graph from a JSON file so that it fits a memory budget."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from jogak.errors import EXIT_OK, UsageError


def remat(
    graph: Annotated[Path, typer.Argument(help="node-link JSON file with costs and sizes")],
    memory: Annotated[str, typer.Option(help="bytes, 16GiB, or 0.8x of the peak without recomputation")],
    fixed_order: Annotated[bool, typer.Option("--fixed-order", help="keep the order of first computations")] = False,
    time_limit: Annotated[float, typer.Option(help="seconds after which the best so far is printed")] = 60.0,
) -> int:
    """Plan recomputation for GRAPH within a memory budget; prints one JSON object.

    That no plan exists is an answer too: `feasible` is false, and `minimum_peak_bound` says what no plan goes below.
    """
    if not time_limit > 0:
        raise UsageError(f"a time limit of {time_limit} seconds is not positive", where="--time-limit")
    from jogak.memory.budget import parse_budget
    from jogak.memory.remat import simulate_sequence, solve_remat
    from jogak.memory.remat.formats import read_graph

    problem = read_graph(graph)
    base_peak = simulate_sequence(problem, problem.order).peak
    budget = parse_budget(memory, base_peak, "--memory")
    print(json.dumps(asdict(solve_remat(problem, budget, fixed_order=fixed_order, time_limit=time_limit))))
    return EXIT_OK
