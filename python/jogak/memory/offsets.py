"""Offsets in one arena for every value of a per-device program, as attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from torch_mlir import ir

from jogak.errors import JogakError
from jogak.ir.structured import is_tensor
from jogak.memory.attributes import ARENA, OFFSET, SCRATCH_OFFSET
from jogak.memory.emit import sink_constants
from jogak.memory.packing import Buffer, pack
from jogak.memory.packing.validate import validate_packing
from jogak.memory.reading import TapeReading, read_tape
from jogak.memory.tape import ALIGNMENT, Layout, Tape, lay_out
from jogak.sharding.annotation import extend_attributes

_SECONDS = 3.0
"""CPU seconds for the final offsets; the search nearly always ends at once, with an arena of just what is alive."""


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
        time_limit: seconds of CPU; a packing without a gap ends the search earlier.

    Raises:
        JogakError: the packing is wrong, which would be a bug.
    """
    layout = lay_out(tape, sequence)
    bottom = tape.resident
    moving = _moving(layout)
    capacity = None if enough is None else max(enough - bottom, 0)
    packed = pack(moving, capacity, time_limit, ALIGNMENT)
    validate_packing(moving, packed.offsets, packed.height)
    offsets = _side_by_side(tape)
    offsets += [bottom + packed.offsets[buffer.id] for buffer in moving]
    return Placement(layout, offsets, bottom + packed.height)


def _side_by_side(tape: Tape) -> list[int]:
    """First byte of each argument."""
    return list(accumulate(tape.sizes[: tape.arguments], initial=0))[: tape.arguments]


def _moving(layout: Layout) -> list[Buffer]:
    """What is packed: all but the arguments, named by its place in the layout."""
    end = max(len(layout.live), 1)
    return [
        Buffer(str(number), buffer.first, min(buffer.last + 1, end), buffer.size)
        for number, buffer in enumerate(layout.buffers)
        if number >= layout.arguments
    ]


def tightened(tape: Tape, sequence: Sequence[int], placed: Placement) -> Placement:
    """A smaller placement of a sequence where a short search finds one, or the one that is there."""
    if placed.arena == placed.layout.peak:
        return placed
    return min(place(tape, sequence, time_limit=_SECONDS), placed, key=lambda each: each.arena)


def plan_memory(function: ir.Operation) -> Placement:
    """Write the offset of every value that has bytes of its own, and the size of the arena.

    Offsets that are there stay where they are right: who wrote them may have promised that the arena is no larger.
    """
    written = _written(function)
    if written is not None:
        return written
    _forget(function)
    sink_constants(function)
    reading = read_tape(function)
    placed = place(reading.tape, time_limit=_SECONDS)
    write_offsets(function, reading, placed, reading.ops, range(len(reading.ops)))
    return placed


def _forget(function: ir.Operation) -> None:
    """Delete offsets that are not right any more."""
    for view in function.regions[0].blocks[0].operations:
        for name in (OFFSET, SCRATCH_OFFSET):
            if name in view.operation.attributes:
                del view.operation.attributes[name]


def write_offsets(
    function: ir.Operation,
    reading: TapeReading,
    placed: Placement,
    made: Sequence[ir.Operation],
    sequence: Sequence[int],
) -> None:
    """Write a placement as attributes.

    Args:
        reading: of the function before the sequence was written into it.
        placed: of the sequence.
        made: the op at each place of the sequence.
        sequence: numbers of steps.
    """
    where: dict[tuple[int, int], int] = {}
    for buffer, offset in zip(placed.layout.buffers, placed.offsets, strict=True):
        where.update((held, offset) for held in buffer.values)
    i64 = ir.IntegerType.get_signless(64, function.context)
    scratch = {reading.values[number]: number for number in reading.scratch}  # the hash of an op is of its attributes
    with function.context:
        arguments = range(reading.tape.arguments)
        extend_attributes(function, "arg_attrs", [{OFFSET: ir.IntegerAttr.get(i64, where[-1, a])} for a in arguments])
        for position, (op, step) in enumerate(zip(made, sequence, strict=True)):
            first = reading.ops[step]
            numbers = [reading.numbers[result] if is_tensor(result) else None for result in first.results]
            held = [-1 if number is None else where[position, number] for number in numbers]
            op.attributes[OFFSET] = ir.DenseI64ArrayAttr.get(held)
            number = scratch.get(first.results[0]) if len(first.results) else None
            if number is not None:
                op.attributes[SCRATCH_OFFSET] = ir.IntegerAttr.get(i64, where[position, number])
        function.attributes[ARENA] = ir.IntegerAttr.get(i64, placed.arena)


def _written(function: ir.Operation) -> Placement | None:
    """The placement that the attributes hold; None where there is none, or it is not right for the program as it is."""
    if ARENA not in function.attributes:
        return None
    reading = read_tape(function)
    layout, arena = lay_out(reading.tape), int(ir.IntegerAttr(function.attributes[ARENA]).value)
    offsets: list[int] = []
    for buffer in layout.buffers:
        found = {_offset_of(function, reading, value) for _, value in buffer.values}
        offset = found.pop()
        if found or offset is None or offset % ALIGNMENT:
            return None
        offsets.append(offset)
    ends = (offset + buffer.size for buffer, offset in zip(layout.buffers, offsets, strict=True))
    if max(ends, default=0) != arena:
        return None
    bottom, moving = reading.tape.resident, _moving(layout)
    if offsets[: layout.arguments] != _side_by_side(reading.tape):
        return None
    try:
        validate_packing(moving, {buffer.id: offsets[int(buffer.id)] - bottom for buffer in moving}, arena - bottom)
    except JogakError:
        return None
    return Placement(layout, offsets, arena)


def _offset_of(function: ir.Operation, reading: TapeReading, number: int) -> int | None:
    """The offset that is written for a value of the tape."""
    if number < reading.tape.arguments:
        entry = ir.DictAttr(ir.ArrayAttr(function.attributes["arg_attrs"])[number])
        return int(ir.IntegerAttr(entry[OFFSET]).value) if OFFSET in entry else None
    op = reading.scratch.get(number)
    if op is not None:
        return int(ir.IntegerAttr(op.attributes[SCRATCH_OFFSET]).value) if SCRATCH_OFFSET in op.attributes else None
    value = reading.values[number]
    held = list(ir.DenseI64ArrayAttr(value.owner.attributes[OFFSET])) if OFFSET in value.owner.attributes else []
    return held[value.result_number] if value.result_number < len(held) else None
