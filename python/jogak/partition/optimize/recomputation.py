"""Barriers in the program of a device become attributes of the ops behind them, as rematerialization writes them."""

from __future__ import annotations

from torch_mlir import ir

from jogak.ir.barrier import BARRIER
from jogak.ir.diagnostics import source_location
from jogak.ir.rewrite.build import top_level
from jogak.ir.structured import is_view, region_ops
from jogak.memory.attributes import RECOMPUTE, RECOMPUTE_OF


def mark_recomputation(function: ir.Operation) -> int:
    """Remove every barrier and mark the ops that read its value, reshapes between them as well.

    An op is marked with a number of its own, below zero, so that no CSE makes one of it and an earlier one.

    Returns:
        How many ops are marked.
    """
    marked = 0
    behind: set[ir.Value] = set()
    barriers: list[ir.Operation] = []
    for op in top_level(function):
        reads = behind.intersection([*op.operands, *(value for inner in region_ops(op) for value in inner.operands)])
        if op.name == BARRIER:
            behind.add(op.results[0])
            barriers.append(op)
        elif reads and op.name != "func.return":
            marked += 1
            op.attributes[RECOMPUTE_OF] = ir.StringAttr.get(f"{op.name} at {source_location(op.location)}", op.context)
            number = ir.IntegerType.get_signless(64, op.context)
            op.attributes[RECOMPUTE] = ir.IntegerAttr.get(number, -marked)
            if is_view(op):
                behind.update(op.results)
    for op in barriers:
        op.results[0].replace_all_uses_with(op.operands[0])
        op.erase()
    return marked
