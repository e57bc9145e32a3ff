"""`jogak remat`: what to compute again so that a graph in a file fits a memory budget."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jogak.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from jogak.memory.remat.graph import RematGraph


def remat(
    graph: Annotated[Path, typer.Argument(help="NetworkX node-link JSON with costs and sizes")],
    memory: Annotated[str, typer.Option(help="budget: bytes, or a share of the base peak such as 0.8x")],
    fixed_order: Annotated[bool, typer.Option(help="keep the file's order of first computations")] = False,
    time_limit: Annotated[float, typer.Option(help="seconds after which the best so far is printed")] = 60.0,
) -> int:
    """Plan recomputation under a memory budget; prints one JSON object. That nothing fits is an answer, too."""
    if not time_limit > 0:
        raise UsageError(f"a time limit of {time_limit} seconds is not positive", where="--time-limit")
    from jogak.memory.remat.formats import read_graph
    from jogak.memory.remat.solve import solve_remat

    problem = read_graph(graph)
    budget = _budget(memory, problem)
    print(json.dumps(asdict(solve_remat(problem, budget, fixed_order=fixed_order, time_limit=time_limit))))
    return EXIT_OK


def _budget(text: str, graph: RematGraph) -> int:
    """Bytes from `12000` or `0.8x`.

    Raises:
        UsageError: the text is neither, or negative.
    """
    from jogak.memory.remat.sequence import simulate_sequence

    try:
        value = float(text.removesuffix("x"))
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        hint = "write a number of bytes, or a share of the base peak such as 0.8x"
        raise UsageError(f"cannot read {text!r} as a budget", where="--memory", hint=hint)
    if not text.endswith("x"):
        return int(value)
    return int(value * simulate_sequence(graph, graph.order).peak)
