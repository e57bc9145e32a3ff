"""What the program of one micro-batch says: which of its values differ between micro-batches, and where they meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch_mlir import ir

from jogak.ir.diagnostics import fail
from jogak.ir.structured import region_values, shape_of

JOINS = ("shard.all_reduce", "shard.all_gather")
"""Collectives after which every micro-batch has the same."""
POSITION = "shard.process_multi_index"
SLICE = "shard.all_slice"


@dataclass
class Turn:
    """The program of one micro-batch.

    Attributes:
        block: its block.
        ops: what its results need, in order, without the return.
        results: what it returns.
        reads: for each op the arguments and results that it reads, its regions included, each once.
        producer: the number of the op that makes a value.
        varying: values that differ between micro-batches.
        cut: arguments that micro-batches have parts of.
        ordered: whether the program knows where in the batch it is, so that a micro-batch has to be a stretch of it.
    """

    block: ir.Block
    ops: list[ir.Operation] = field(default_factory=list)
    results: list[ir.Value] = field(default_factory=list)
    reads: list[list[ir.Value]] = field(default_factory=list)
    producer: dict[ir.Value, int] = field(default_factory=dict)
    varying: set[ir.Value] = field(default_factory=set)
    cut: set[ir.Value] = field(default_factory=set)
    ordered: bool = False

    def is_join(self, number: int) -> bool:
        """Whether an op brings the micro-batches together."""
        return self.ops[number].name in JOINS

    def is_varying(self, number: int) -> bool:
        """Whether an op is done for each micro-batch."""
        return any(result in self.varying for result in self.ops[number].results)


def read_turn(function: ir.Operation, whole: Sequence[ir.Value]) -> Turn:
    """Read it.

    Args:
        whole: the arguments of the program that the micro-batches are made of.

    Raises:
        PassFailed: it has a collective that cannot be done in turns, or a result that is a part of the batch.
    """
    block = function.regions[0].blocks[0]
    *operations, terminator = [view.operation for view in block.operations]
    made = Turn(block, results=list(terminator.operands))
    outside = {*block.arguments, *(result for op in operations for result in op.results)}
    for op, reads in _live(operations, made.results, outside):
        made.producer |= dict.fromkeys(op.results, len(made.ops))
        made.ops.append(op)
        made.reads.append(reads)
    made.cut = {mine for mine, own in zip(block.arguments, whole, strict=True) if shape_of(mine) != shape_of(own)}
    made.varying = set(made.cut)
    for op, reads in zip(made.ops, made.reads, strict=True):
        _require_possible(op)
        own = op.name in (POSITION, SLICE)
        made.ordered |= own or op.name == "shard.all_gather"
        if own or (op.name not in JOINS and not made.varying.isdisjoint(reads)):
            made.varying.update(op.results)
    for value in made.results:
        if value in made.varying:
            fail(function, "a result of the program is a part of the batch", hint="micro-batches are for training")
    return made


def _live(
    operations: Sequence[ir.Operation], results: Sequence[ir.Value], outside: set[ir.Value]
) -> list[tuple[ir.Operation, list[ir.Value]]]:
    """The ops that results need, in order, with what each reads."""
    needed = set(results)
    found = []
    for op in reversed(operations):
        if needed.isdisjoint(op.results):
            continue
        inner = (value for value in region_values(op) if value in outside)
        reads = list(dict.fromkeys([*op.operands, *inner]))
        needed.update(reads)
        found.append((op, reads))
    return found[::-1]


def _require_possible(op: ir.Operation) -> None:
    if op.name.startswith("shard.") and op.name not in (*JOINS, POSITION, SLICE):
        fail(
            op,
            f"micro-batches would have to exchange parts here ({op.name})",
            hint="leave out --micro-batches: this op works across the batch",
        )
