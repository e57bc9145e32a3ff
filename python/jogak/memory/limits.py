"""What a budget means, and what to say where nothing fits it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from torch_mlir import ir

from jogak.ir.diagnostics import fail, note
from jogak.memory.budget import parse_budget
from jogak.memory.fit import Fit
from jogak.memory.reading import TapeReading
from jogak.sharding.reading import argument_names

_LISTED = 8


def budget_of(text: str, machine_bytes: int, peak: Callable[[], int]) -> int:
    """Bytes of a budget: `auto` is the machine's memory, `0.5x` a share of the peak.

    Raises:
        UsageError: the text is no budget.
    """
    if text == "auto":
        return machine_bytes
    return parse_budget(text, peak() if text.endswith("x") else 0, "--memory")


def does_not_fit(function: ir.Operation, reading: TapeReading, found: Fit) -> NoReturn:
    """Tell what fills the memory at the worst point of the lowest plan.

    Raises:
        PassFailed: always.
    """
    live = found.placement.layout.live
    worst = max(range(len(live)), key=live.__getitem__)
    op = reading.ops[list(found.sequence)[worst]]
    notes = [
        note(where, f"{size} bytes ({size / live[worst]:.0%}): {what}")
        for size, what, where in _alive(function, reading, found, worst)[:_LISTED]
    ]
    proven = (
        f"no order and no recomputation needs less than {found.minimum_bound} bytes, which is proven"
        if found.minimum_bound > found.budget
        else f"it is proven only that less than {found.minimum_bound} bytes is impossible"
    )
    fail(
        op,
        f"the program does not fit {found.budget} bytes a device: the lowest plan that was found needs "
        f"{found.placement.arena} bytes here; {proven}",
        hint="shard what is listed over another mesh axis, make the batch smaller, or give more memory",
        notes=notes,
    )


def _alive(
    function: ir.Operation, reading: TapeReading, found: Fit, position: int
) -> list[tuple[int, str, ir.Operation]]:
    """Bytes, description and op of what is alive at a position, largest first; arguments are one entry."""
    arguments = list(reading.values[: reading.tape.arguments])
    resident = reading.tape.resident
    names = argument_names(function)
    largest = max(range(len(arguments)), key=lambda k: reading.tape.sizes[k], default=0)
    example = f", the largest is {names[largest]}" if names else ""
    listed = [(resident, f"{len(arguments)} arguments{example}", function)]
    for buffer in found.placement.layout.buffers[reading.tape.arguments :]:
        if buffer.first <= position <= buffer.last:
            value = reading.values[[v for p, v in buffer.values if p <= position][-1]]
            listed.append((buffer.size, f"{value.type}, made by {value.owner.name}", value.owner))
    return sorted(listed, key=lambda entry: -entry[0])
