"""Offsets in one arena for every value of a per-device program, as attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch_mlir import ir

from jogak.ir.structured import is_tensor
from jogak.memory.attributes import ARENA, OFFSET, SCRATCH_OFFSET
from jogak.memory.packing import Buffer, pack
from jogak.memory.packing.validate import validate_packing
from jogak.memory.reading import TapeReading, read_tape
from jogak.memory.tape import ALIGNMENT, Layout, Tape, lay_out
from jogak.sharding.annotation import extend_attributes

_SECONDS = 3.0
"""For the final offsets; the search nearly always ends at once, with an arena of just what is alive."""


@dataclass(frozen=True)
class Placement:
    """A layout with offsets.

    Attributes:
        layout: the buffers.
        offsets: first byte of each of them.
        arena: bytes of all; at least `layout.peak`.
    """

    layout: Layout
    offsets: Sequence[int]
    arena: int


def place(
    tape: Tape, sequence: Sequence[int] | None = None, *, enough: int | None = None, time_limit: float = 0.5
) -> Placement:
    """Place the buffers of a sequence: arguments side by side at the bottom, everything else packed above them.

    Args:
        enough: bytes of an arena that is small enough; None looks for the smallest.
        time_limit: seconds of search; a packing without a gap ends it earlier.

    Raises:
        JogakError: the packing is wrong, which would be a bug.
    """
    layout = lay_out(tape, sequence)
    end = max(len(layout.live), 1)
    fixed = layout.buffers[: layout.arguments]
    bottom = sum(buffer.size for buffer in fixed)
    offsets = [sum(buffer.size for buffer in fixed[:number]) for number in range(len(fixed))]
    moving = [
        Buffer(str(number), buffer.first, min(buffer.last + 1, end), buffer.size)
        for number, buffer in enumerate(layout.buffers)
        if number >= layout.arguments
    ]
    capacity = None if enough is None else max(enough - bottom, 0)
    packed = pack(moving, capacity, time_limit, ALIGNMENT)
    validate_packing(moving, packed.offsets, packed.height)
    offsets += [bottom + packed.offsets[buffer.id] for buffer in moving]
    return Placement(layout, offsets, bottom + packed.height)


def plan_memory(function: ir.Operation) -> Placement:
    """Write the offset of every value that has bytes of its own, and the size of the arena."""
    reading = read_tape(function)
    placed = place(reading.tape, time_limit=_SECONDS)
    write_offsets(function, reading, placed)
    return placed


def write_offsets(function: ir.Operation, reading: TapeReading, placed: Placement) -> None:
    """Write a placement of the program's own order as attributes."""
    where: dict[int, int] = {}
    for buffer, offset in zip(placed.layout.buffers, placed.offsets, strict=True):
        where.update((value, offset) for _, value in buffer.values)
    i64 = ir.IntegerType.get_signless(64, function.context)
    with function.context:
        arguments = range(reading.tape.arguments)
        extend_attributes(function, "arg_attrs", [{OFFSET: ir.IntegerAttr.get(i64, where[a])} for a in arguments])
        for op in reading.ops:
            held = [where[reading.numbers[r]] if is_tensor(r) else -1 for r in op.results]
            op.attributes[OFFSET] = ir.DenseI64ArrayAttr.get(held)
        for number, op in reading.scratch.items():
            op.attributes[SCRATCH_OFFSET] = ir.IntegerAttr.get(i64, where[number])
        function.attributes[ARENA] = ir.IntegerAttr.get(i64, placed.arena)
