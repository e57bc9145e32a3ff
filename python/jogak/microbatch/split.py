"""Cuts the batch of a training step into micro-batches, in place."""

from __future__ import annotations

from collections.abc import Mapping

from torch_mlir import ir

from jogak.errors import JogakError
from jogak.ir.diagnostics import PassFailed, fail, note, warn
from jogak.ir.grid import find_mesh
from jogak.ir.module import main_function
from jogak.ir.rewrite.build import top_level
from jogak.microbatch.batch import batch_size, counts
from jogak.microbatch.reading import read_turn
from jogak.microbatch.turn import KEPT, one_turn
from jogak.microbatch.unroll import Unrolled, unroll
from jogak.plugin import RuleFunction
from jogak.sharding.annotation import CONSTRAINT, read_arguments
from jogak.sharding.reading import result_attributes

_TOLD = 0.05
"""Share of a micro-batch that other micro-batches wait for, from which on it is told."""
_LISTED = 3
_MOST_OPS = 40_000
"""Programs that would become larger than this are not cut further by themselves."""


def split_batch(module: ir.Module, count: int, rules: Mapping[str, RuleFunction]) -> None:
    """Let `@main` take its batch in `count` parts, one after the other, and give the same results.

    Raises:
        PassFailed: the batch cannot be cut so; the program is no training step, has a mesh, or an op works across the
            batch.
    """
    function = main_function(module).operation
    if not is_training_step(function):
        fail(function, "micro-batches are for training steps", hint="compile with --train, or without --micro-batches")
    if find_mesh(module) is not None:
        fail(function, "the program is for a mesh already", hint="make micro-batches before the mesh is declared")
    if count == 1:
        return
    try:
        turn = one_turn(module, count, rules)
    except PassFailed:
        raise
    except JogakError as error:
        fail(function, error.message, hint=error.hint)
    block = function.regions[0].blocks[0]
    old = top_level(function)
    terminator = old.pop()
    with module.context, ir.Location.unknown(), ir.InsertionPoint(terminator):
        made = unroll(read_turn(main_function(turn).operation, list(block.arguments)), list(block.arguments), count)
    for position, value in enumerate(made.results):
        terminator.operands[position] = value
    for op in reversed(old):
        op.erase()
    for op in top_level(function):
        if KEPT in op.attributes:
            op.attributes[CONSTRAINT] = op.attributes[KEPT]
            del op.attributes[KEPT]
    _tell(function, made, count)


def is_training_step(function: ir.Operation) -> bool:
    """Whether a program updates arguments, and returns nothing that may hold a part for every row of the batch."""
    attributes = result_attributes(function)
    roles = [str(ir.StringAttr(each["jogak.role"]).value) for each in attributes if "jogak.role" in each]
    return "update" in roles and "output" not in roles


def possible_counts(function: ir.Operation) -> list[int]:
    """Numbers of micro-batches that are worth trying: powers of two that divide the batch, 1 among them."""
    batch = batch_size(read_arguments(function)) if is_training_step(function) else None
    most = _MOST_OPS // max(len(top_level(function)), 1)
    return [1, *(each for each in counts(batch or 1)[1:] if each <= most and each & (each - 1) == 0)]


def _tell(function: ir.Operation, made: Unrolled, count: int) -> None:
    """Warn where the micro-batches wait for each other, so that the memory of one is not free for the next."""
    early = sum(made.early.values())
    if early <= _TOLD * made.ops:
        return
    places = [note(op, "they meet here") for op, _ in made.early.most_common(_LISTED)]
    warn(
        function,
        f"the {count} micro-batches meet before their ends: {early} of {made.ops} ops of each are done for all of them "
        "before the first goes on, and what they keep is alive at once",
        hint="statistics over the whole batch (batch normalization) need this: they stay those of the whole batch",
        notes=places,
    )
