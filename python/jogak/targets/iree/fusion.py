"""What IREE takes for values: it writes none over another one, but has some in registers only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch_mlir import ir

from jogak.ir.rewrite.im2col import copied_bytes
from jogak.memory.reading import bytes_of
from jogak.memory.tape import padded


def in_registers(before: ir.Operation, after: ir.Operation) -> ir.Value | None:
    """The result of an op that is never in memory where one function holds both: the next op alone reads it.

    That op has no loop that reduces: it becomes the end of the loops of the one before it.
    """
    if before.name != "linalg.generic" or after.name != "linalg.generic" or len(before.results) != 1:
        return None
    if any("parallel" not in str(kind) for kind in after.attributes["iterator_types"]):
        return None
    value = before.results[0]
    read = sum(operand == value for operand in after.operands)
    return value if len(list(value.uses)) == read > 0 else None


def allocated(ops: Sequence[ir.Operation]) -> Iterator[tuple[ir.Operation, int]]:
    """For each op the bytes that a function takes for it, result included.

    Args:
        ops: what the program of a device does, in order, without views and constants.
    """
    passes = [None, *(in_registers(before, after) for before, after in pairwise(ops))]
    for op, passed in zip(ops, passes, strict=True):
        free = passed is not None and bytes_of(passed) == bytes_of(op.results[0])  # one of the two is memory
        if not free and not op.name.startswith("shard."):
            yield op, copied_bytes(op) + sum(padded(bytes_of(value)) for value in op.results)
