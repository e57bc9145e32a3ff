"""`jogak solve`: the search engine on a problem file."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jogak.errors import UsageError

if TYPE_CHECKING:
    from jogak.search.incumbent import Progress


def solve(
    problem: Annotated[Path, typer.Argument(help="A .json or .json.gz file in the format of the IOPDDL contest.")],
    time_limit: Annotated[float, typer.Option(help="Seconds, with reading the file.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Seed of the random choices.")] = 0,
) -> None:
    """Choose a strategy for each node: least cost under a memory limit, with a lower bound.

    Prints one JSON object: cost, lower_bound, gap, feasible (null when the time did not suffice to know), seconds,
    choice. Ctrl-C ends the search early with the best choice so far.
    """
    if not time_limit > 0:
        raise UsageError(f"the time limit must be positive, not {time_limit:g}", where="--time-limit")
    start = time.monotonic()
    from jogak.search.formats import read_problem
    from jogak.search.solve import solve_problem

    solution = solve_problem(
        read_problem(problem),
        time_limit=time_limit,
        seed=seed,
        progress=_show if sys.stderr.isatty() else None,
        start=start,
    )
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(json.dumps({key: value for key, value in asdict(solution).items() if key != "interrupted"}))


def _show(progress: Progress) -> None:
    """One line on the terminal, rewritten at each improvement."""
    cost = "none yet" if progress.cost is None else f"{progress.cost:,}"
    bound = "none yet" if progress.lower_bound is None else f"{progress.lower_bound:,}"
    print(f"\r\x1b[K{progress.seconds:6.1f} s  best {cost}  bound {bound}", end="", file=sys.stderr, flush=True)
