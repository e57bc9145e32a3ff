"""`jogak pack`: offsets for buffers in a CSV file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from jogak.errors import EXIT_OK, UsageError


def pack(
    buffers: Annotated[Path, typer.Argument(help="CSV file with the columns id, lower, upper, size")],
    capacity: Annotated[int | None, typer.Option(help="bytes that are enough; without it, the smallest arena")] = None,
    time_limit: Annotated[float, typer.Option(help="seconds after which the best so far is printed")] = 10.0,
) -> int:
    """Place buffers with known lifetimes in one arena; prints one JSON object.

    A height above the capacity means that nothing that fits was found.
    """
    if capacity is not None and capacity < 0:
        raise UsageError(f"a capacity of {capacity} bytes is negative", where="--capacity")
    if not time_limit > 0:
        raise UsageError(f"a time limit of {time_limit} seconds is not positive", where="--time-limit")
    from jogak.memory.packing.formats import read_buffers
    from jogak.memory.packing.search import pack as solve

    print(json.dumps(asdict(solve(read_buffers(buffers), capacity, time_limit))))
    return EXIT_OK
