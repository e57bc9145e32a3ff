"""What a device's memory holds over time, and what is computed again for its sake."""

from __future__ import annotations

from typing import Any

from torch_mlir import ir

from jogak.cost.model import CostModel
from jogak.ir.diagnostics import source_location
from jogak.memory.attributes import ARENA, OFFSET, RECOMPUTE, RECOMPUTE_OF, SCRATCH_OFFSET
from jogak.memory.reading import TapeReading, read_tape
from jogak.memory.tape import Lifetime, lay_out
from jogak.partition.prices import Prices, as_collective
from jogak.sharding.mesh import Mesh
from jogak.sharding.reading import argument_attributes, argument_names


def recomputed(function: ir.Operation, mesh: Mesh, cost: CostModel, before: int) -> dict[str, Any] | None:
    """What the manifest says of rematerialization; None when nothing is computed again but what the model's code asks.

    Args:
        before: bytes of the peak without it.
    """
    operations = [view.operation for view in function.regions[0].blocks[0].operations]
    again = [op for op in operations if _number(op) >= 0]
    if not again:
        return None
    return {
        "recomputed_ops": len(again),
        "recomputed_collectives": sum(as_collective(op, mesh) is not None for op in again),
        "added_time_s": sum(map(Prices(cost).seconds, again)),
        "peak_without_bytes": before,
    }


def checkpointed(function: ir.Operation) -> int:
    """Ops that begin what the model's own checkpointing computes again."""
    operations = [view.operation for view in function.regions[0].blocks[0].operations]
    return sum(RECOMPUTE in op.attributes for op in operations) - sum(_number(op) >= 0 for op in operations)


def _number(op: ir.Operation) -> int:
    """The number of what rematerialization does again; -1 for other ops."""
    return int(ir.IntegerAttr(op.attributes[RECOMPUTE]).value) if RECOMPUTE in op.attributes else -1


def memory_map(function: ir.Operation) -> dict[str, Any]:
    """The content of memory.json: every buffer of a planned program, from when to when, where, and whose.

    `steps` are the ops that do something at run time, in order; `live` has the bytes in use at each of them.
    """
    reading = read_tape(function)
    layout = lay_out(reading.tape)
    arena = int(ir.IntegerAttr(function.attributes[ARENA]).value)
    described = [_buffer(function, reading, buffer) for buffer in layout.buffers if buffer.size]
    steps = [{"op": op.name, "source": str(source_location(op.location))} for op in reading.ops]
    return {
        "arena_bytes": arena,
        "live_peak_bytes": layout.peak,
        "resident_bytes": reading.tape.resident,
        "buffers": described,
        "live": list(layout.live),
        "steps": steps,
    }


def _buffer(function: ir.Operation, reading: TapeReading, buffer: Lifetime) -> dict[str, Any]:
    number = buffer.values[0][1]
    common = {"bytes": buffer.size, "first": buffer.first, "last": min(buffer.last, len(reading.ops) - 1)}
    if number < reading.tape.arguments:
        offset = ir.IntegerAttr(argument_attributes(function)[number][OFFSET]).value
        return {"offset": int(offset), **common, "argument": argument_names(function)[number]}
    value = reading.values[number]
    op = value.owner
    if number in reading.scratch:
        offset = ir.IntegerAttr(op.attributes[SCRATCH_OFFSET]).value
        return {
            "offset": int(offset),
            **common,
            "op": f"{op.name}, scratch",
            "source": str(source_location(op.location)),
        }
    offset = list(ir.DenseI64ArrayAttr(op.attributes[OFFSET]))[value.result_number]
    entry = {"offset": int(offset), **common, "op": op.name, "source": str(source_location(op.location))}
    if RECOMPUTE_OF in op.attributes:
        entry["recompute_of"] = ir.StringAttr(op.attributes[RECOMPUTE_OF]).value
    if len(buffer.values) > 1:
        entry["reused"] = len(buffer.values) - 1
    return entry
