"""Puts a sequence of steps into the IR: ops in its order, repeats as clones that say what they repeat."""

from __future__ import annotations

from collections.abc import Sequence

from torch_mlir import ir

from jogak.ir.diagnostics import source_location
from jogak.ir.structured import is_tensor, region_ops
from jogak.memory.attributes import RECOMPUTE, RECOMPUTE_OF
from jogak.memory.reading import TapeReading

Slot = tuple[int, int, ir.Value]
"""An operand that an op reads: which op (0: itself, then those of its regions), which operand, the original value."""


def emit_sequence(function: ir.Operation, reading: TapeReading, sequence: Sequence[int]) -> list[ir.Operation]:
    """Reorder the function's block, and clone the steps that come again; returns the op at each place of the sequence.

    Views follow their source: each is made right before its first reader, and again when its source is computed again.
    """
    writer = _Writer(function, reading)
    seen: set[int] = set()
    made: list[ir.Operation] = []
    for number in sequence:
        made.append(writer.append(number, len(made) - len(seen) if number in seen else None))
        seen.add(number)
    writer.finish()
    return made


class _Writer:
    """The state of writing a block anew behind what is ambient: the newest form of every value."""

    def __init__(self, function: ir.Operation, reading: TapeReading) -> None:
        self.reading = reading
        self.end = [view.operation for view in function.regions[0].blocks[0].operations][-1]
        self.newest: dict[ir.Value, ir.Value] = {}
        self.views: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}
        self.placed: set[ir.Value] = set()
        self.static = {result: result for op in reading.ambient for result in op.results}
        for op in reading.ambient:
            op.move_before(self.end)
        self.slots = [self._slots(op, used) for op, used in zip(reading.ops, reading.uses, strict=True)]

    def _slots(self, op: ir.Operation, used: Sequence[ir.Value]) -> list[Slot]:
        """What an op reads. Operands that it does not read are made ambient, so that they hold up no order."""
        read = set(used)
        slots: list[Slot] = []
        for number, inner in enumerate(_with_regions(op)):
            for place, value in enumerate(inner.operands):
                if value in read:
                    slots.append((number, place, value))
                elif number == 0 and not isinstance(value, ir.BlockArgument):
                    inner.operands[place] = self._static(value)
        return slots

    def _static(self, value: ir.Value) -> ir.Value:
        """A value that nobody reads, as an op without effect: kernels still learn from it what number it is full of."""
        if value in self.static:
            return self.static[value]
        owner = value.owner
        ip = ir.InsertionPoint(self.end)
        if value in self.reading.splats:
            copy = owner.clone(ip=ip)
            for place, operand in enumerate(owner.operands):
                copy.operands[place] = self._static(operand)
            copy.move_before(self.end)
            made = copy.results[0]
        else:
            made = ir.Operation.create("tensor.empty", [value.type], [], ip=ip, loc=owner.location).result
        self.static[value] = made
        return made

    def append(self, number: int, clone: int | None) -> ir.Operation:
        """Put a step at the end, as a clone with a number where it was there before; returns its op there."""
        op = self.reading.ops[number]
        forms = [(inner, place, self.current(value)) for inner, place, value in self.slots[number]]
        copy = op
        if clone is None:
            op.move_before(self.end)
        else:
            copy = op.clone(ip=ir.InsertionPoint(self.end))
            copy.attributes[RECOMPUTE_OF] = ir.StringAttr.get(f"{op.name} at {source_location(op.location)}")
            copy.attributes[RECOMPUTE] = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), clone)
        inside = _with_regions(copy)
        for inner, place, form in forms:
            inside[inner].operands[place] = form
        self.newest.update(zip(op.results, copy.results, strict=True))
        return copy

    def current(self, value: ir.Value) -> ir.Value:
        """The newest form of a value; a view is made where its source is newer than it."""
        op = self.reading.views.get(value)
        if op is None:
            return self.newest.get(value, value)
        source = self.current(self.reading.sources[value])
        known = self.views.get(value)
        if known is not None and known[0] == source:
            return known[1]
        if value in self.placed:
            op = op.clone(ip=ir.InsertionPoint(self.end))
        else:
            op.move_before(self.end)
            self.placed.add(value)
        op.operands[0] = source
        self.views[value] = (source, op.results[0])
        return self.views[value][1]

    def finish(self) -> None:
        """Return the newest form of every result; drop views that nobody reads any more."""
        forms = [self.current(value) for value in self.end.operands]
        for place, form in enumerate(forms):
            self.end.operands[place] = form
        for value in reversed(self.reading.views):
            if value not in self.placed:
                self.reading.views[value].erase()


def sink_constants(function: ir.Operation) -> None:
    """Move constant tensors in front of their first reader: one that is written over would be alive from the start."""
    block = function.regions[0].blocks[0]
    place = {view.operation: number for number, view in enumerate(block.operations)}
    for op in list(place):
        if op.name == "arith.constant" and is_tensor(op.results[0]):
            readers = [_in_block(use.owner.operation, block) for use in op.results[0].uses]
            if readers:
                op.move_before(min(readers, key=place.__getitem__))


def _in_block(op: ir.Operation, block: ir.Block) -> ir.Operation:
    """An op, or the op of the block in whose regions it is."""
    while op.block != block:
        op = op.parent.operation
    return op


def _with_regions(op: ir.Operation) -> list[ir.Operation]:
    """An op and everything in its regions."""
    return [op, *region_ops(op)] if len(op.regions) else [op]
