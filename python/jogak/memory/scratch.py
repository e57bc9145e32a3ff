"""What a target takes beside the values of a program, as an attribute that the memory model reads."""

from __future__ import annotations

from collections.abc import Mapping

from torch_mlir import ir

from jogak.memory.attributes import SCRATCH
from jogak.memory.reading import read_tape
from jogak.memory.tape import lay_out


def annotate_scratch(function: ir.Operation, allocated: Mapping[ir.Operation, int]) -> None:
    """Write `jogak.scratch` on every op that takes more than the buffers that the memory model begins with it.

    Args:
        allocated: for ops the bytes that the target allocates at the worst moment, results included.
    """
    for view in function.regions[0].blocks[0].operations:
        if SCRATCH in view.operation.attributes:
            del view.operation.attributes[SCRATCH]
    reading = read_tape(function)
    begun = [0] * len(reading.ops)
    layout = lay_out(reading.tape)
    for buffer in layout.buffers[layout.arguments :]:
        begun[buffer.first] += buffer.size
    i64 = ir.IntegerType.get_signless(64, function.context)
    for op, own in zip(reading.ops, begun, strict=True):
        more = allocated.get(op, 0) - own
        if more > 0:
            op.attributes[SCRATCH] = ir.IntegerAttr.get(i64, more)
