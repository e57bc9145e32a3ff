"""Removing results of linalg ops that nobody uses."""

from __future__ import annotations

from torch_mlir import ir

from jogak.ir.structured import depends_on


def drop_unused_results(block: ir.Block) -> None:
    """Rebuild every `linalg.generic` of the block that has several results of which some are unused."""
    for view in list(block.operations):
        op = view.operation
        if op.name == "linalg.generic" and len(op.results) > 1:
            kept = _needed(op)
            if len(kept) < len(op.results):
                _rebuild(op, kept)


def _needed(op: ir.Operation) -> list[int]:
    """The results that are used, and those whose running value another needed result reads."""
    body = op.regions[0].blocks[0]
    yielded = list(list(body.operations)[-1].operands)
    accumulators = list(body.arguments)[len(body.arguments) - len(yielded) :]
    needed = {number for number, result in enumerate(op.results) if list(result.uses)}
    while True:
        reached = {
            number
            for number, accumulator in enumerate(accumulators)
            if any(depends_on(yielded[other], accumulator) for other in needed)
        }
        if reached <= needed:
            return sorted(needed) or [0]
        needed |= reached


def _rebuild(op: ir.Operation, kept: list[int]) -> None:
    results = len(op.results)
    inputs = len(op.operands) - results
    maps = list(ir.ArrayAttr(op.attributes["indexing_maps"]))
    attributes = dict(op.attributes.items())
    attributes["indexing_maps"] = ir.ArrayAttr.get(maps[:inputs] + [maps[inputs + number] for number in kept])
    attributes["operandSegmentSizes"] = ir.DenseI32ArrayAttr.get([inputs, len(kept)])
    operands = list(op.operands)[:inputs] + [op.operands[inputs + number] for number in kept]
    new = ir.Operation.create(
        "linalg.generic",
        results=[op.results[number].type for number in kept],
        operands=operands,
        attributes=attributes,
        regions=1,
        loc=op.location,
        ip=ir.InsertionPoint(op),
    )
    for position, number in enumerate(kept):
        op.results[number].replace_all_uses_with(new.results[position])
    _move_body(op, new, inputs, kept)
    op.erase()


def _move_body(op: ir.Operation, new: ir.Operation, inputs: int, kept: list[int]) -> None:
    """Move the region over, without the arguments and the yields of the dropped results."""
    body = op.regions[0].blocks[0]
    terminator = list(body.operations)[-1].operation
    yielded = [terminator.operands[number] for number in kept]
    with ir.InsertionPoint(terminator), terminator.location:
        ir.Operation.create("linalg.yield", operands=yielded)
    terminator.erase()
    dropped = {number for number in range(len(op.results)) if number not in kept}
    for inner in reversed([view.operation for view in list(body.operations)[:-1]]):
        if not any(list(result.uses) for result in inner.results):
            inner.erase()
    for number in sorted(dropped, reverse=True):
        body.erase_argument(inputs + number)
    body.append_to(new.regions[0])
