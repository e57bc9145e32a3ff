"""What a budget means, and what to say where nothing fits it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from torch_mlir import ir

from jogak.ir.diagnostics import DoesNotFit, fail, note, source_location
from jogak.ir.structured import shape_of
from jogak.memory.budget import parse_budget
from jogak.memory.reading import TapeReading
from jogak.sharding.reading import argument_names

if TYPE_CHECKING:
    from jogak.memory.fit import Fit

_LISTED = 8


def budget_of(text: str, machine_bytes: int, peak: Callable[[], int]) -> int:
    """Bytes of a budget: `auto` is the machine's memory, `0.5x` a share of the peak.

    Raises:
        UsageError: the text is no budget.
    """
    if text == "auto":
        return machine_bytes
    return parse_budget(text, peak() if text.endswith("x") else 0, "--memory")


class Alive(NamedTuple):
    """Something that is alive at the worst point.

    Attributes:
        size: bytes.
        shape: of the tensor on a device; () for all arguments together.
        what: for people.
        where: the op that made it.
    """

    size: int
    shape: tuple[int, ...]
    what: str
    where: ir.Operation


def remedies(budget: int, resident: int, alive: Sequence[Alive], axes: Mapping[str, int]) -> Iterator[str]:
    """What would help a program whose lowest plan does not fit, most helpful first.

    Args:
        budget: bytes of a device.
        resident: bytes of the arguments.
        alive: what is alive at the worst point of the lowest plan, largest first; the arguments are one of them.
        axes: the sizes of the mesh axes.
    """
    rest = sum(entry.size for entry in alive if entry.shape)
    if resident >= budget:
        yield f"the arguments alone take {resident} bytes: take {-(-resident // budget)} times as many devices for them"
    elif rest:
        parts = -(-rest // (budget - resident))
        yield f"{parts} micro-batches, or {parts} times as many devices along the batch, divide {rest} of these bytes"
    split = {f"`{name}`, where that does not split it yet,": size for name, size in axes.items() if size > 1}
    for name, size in (split or {"a mesh axis of 2": 2}).items():
        entry = next((each for each in alive if any(dim % size == 0 for dim in each.shape)), None)
        if entry is not None:
            dimension = next(n for n, dim in enumerate(entry.shape) if dim % size == 0)
            line, less = source_location(entry.where.location), entry.size - entry.size // size
            extent = entry.shape[dimension]
            yield f"dimension {dimension} ({extent}) of what {line} makes, split over {name} takes {less} bytes less"
    yield "or give more memory"


def does_not_fit(function: ir.Operation, reading: TapeReading, found: Fit, axes: Mapping[str, int]) -> NoReturn:
    """Tell what fills the memory at the worst point of the lowest plan.

    Args:
        axes: the sizes of the mesh axes.

    Raises:
        DoesNotFit: always.
    """
    live = found.placement.layout.live
    worst = max(range(len(live)), key=live.__getitem__)
    op = reading.ops[list(found.sequence)[worst]]
    listed = _alive(function, reading, found, worst)
    notes = [
        note(entry.where, f"{entry.size} bytes ({entry.size / live[worst]:.0%}): {entry.what}")
        for entry in listed[:_LISTED]
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
        hint="; ".join(remedies(found.budget, reading.tape.resident, listed, axes)),
        notes=notes,
        error=DoesNotFit,
    )


def _alive(function: ir.Operation, reading: TapeReading, found: Fit, position: int) -> list[Alive]:
    """What is alive at a position, largest first; arguments are one entry."""
    arguments = list(reading.values[: reading.tape.arguments])
    names = argument_names(function)
    largest = max(range(len(arguments)), key=lambda k: reading.tape.sizes[k], default=0)
    example = f", the largest is {names[largest]}" if names else ""
    listed = [Alive(reading.tape.resident, (), f"{len(arguments)} arguments{example}", function)]
    for buffer in found.placement.layout.buffers[reading.tape.arguments :]:
        if buffer.first <= position <= buffer.last:
            number = [v for p, v in buffer.values if p <= position][-1]
            value = reading.values[number]
            made = f"{value.type}, made by {value.owner.name}"
            what = f"scratch of {value.owner.name}" if number in reading.scratch else made
            listed.append(Alive(buffer.size, shape_of(value), what, value.owner))
    return sorted(listed, key=lambda entry: -entry.size)
