"""Gathers: reads of a captured table at computed indices, each brought into an operation of its own."""

from __future__ import annotations

from collections.abc import Sequence

from torch_mlir import ir

from jogak.ir.rewrite import build

_CASTS = {"arith.index_cast", "arith.extsi", "arith.extui", "arith.trunci"}


def isolate_gathers(function: ir.Operation) -> int:
    """Bring every gather into an operation that does nothing else; return how many were moved or became plain reads.

    A gather whose indices are loops of their own is no gather: it becomes an operand, after a slice where the loops do
    not reach the end of the table.
    """
    changed = 0
    for op in build.top_level(function):
        if op.name != "linalg.generic":
            continue
        extracts = [inner for inner in build.body_of(op) if inner.name == "tensor.extract"]
        if not extracts:
            continue
        changed += len(extracts)
        if _is_alone(op, extracts):
            changed -= not _read_directly(op, extracts[0])
            continue
        for _ in extracts:
            op = _outline_first(op)
        build.drop_unused_inputs(op)
    return changed


def _is_alone(op: ir.Operation, extracts: Sequence[ir.Operation]) -> bool:
    if len(extracts) != 1 or not build.is_parallel(op):
        return False
    return list(build.body_of(op)[-1].operands) == list(extracts[0].results)


def _outline_first(op: ir.Operation) -> ir.Operation:
    """Move the first gather of `op` into an operation before it; return what replaces `op`."""
    extract = next(inner for inner in build.body_of(op) if inner.name == "tensor.extract")
    needed = _slice(op, extract)
    gathered, m = _stand_alone(op, extract, needed)
    inputs = build.input_count(op)
    maps = build.indexing_maps(op)
    operands = list(op.operands)
    new, block = build.generic(
        [*operands[:inputs], gathered], operands[inputs:], [*maps[:inputs], m, *maps[inputs:]],
        op.attributes["iterator_types"], ip=ir.InsertionPoint(op), loc=op.location,
    )  # fmt: skip
    build.keep_attributes(op, new)
    old_arguments = list(op.regions[0].blocks[0].arguments)
    new_arguments = list(block.arguments)
    extract.results[0].replace_all_uses_with(new_arguments.pop(inputs))
    for old, argument in zip(old_arguments, new_arguments, strict=True):
        old.replace_all_uses_with(argument)
    for inner in build.body_of(op):
        block.append(inner)
    extract.erase()
    for old, result in zip(op.results, new.results, strict=True):
        old.replace_all_uses_with(result)
    op.erase()
    alone = gathered.owner.operation
    _read_directly(alone, build.body_of(alone)[-2])
    return new


def _slice(op: ir.Operation, extract: ir.Operation) -> list[ir.Operation]:
    """The operations of the body that compute the indices of `extract`, in order."""
    body = build.body_of(op)
    wanted = set(list(extract.operands)[1:])
    needed: list[ir.Operation] = []
    for inner in reversed(body[: body.index(extract)]):
        if any(result in wanted for result in inner.results):
            needed.append(inner)
            wanted.update(inner.operands)
    return needed[::-1]


def _stand_alone(
    op: ir.Operation, extract: ir.Operation, needed: Sequence[ir.Operation]
) -> tuple[ir.Value, ir.AffineMap]:
    """A new gather over the loops that the indices depend on, and the map from `op`'s loops to its result."""
    maps = build.indexing_maps(op)
    sizes = build.loop_sizes(op, maps)
    used = {value for inner in (*needed, extract) for value in inner.operands}
    read = [n for n in range(build.input_count(op)) if op.regions[0].blocks[0].arguments[n] in used]
    loops = sorted(_loops_of(needed) | {e.position for n in read for e in maps[n].results if _is_dim(e)})
    renamed = [ir.AffineExpr.get_constant(0)] * len(sizes)
    for new, old in enumerate(loops):
        renamed[old] = ir.AffineExpr.get_dim(new)
    renaming = ir.AffineMap.get(len(loops), 0, renamed)
    ip, loc = ir.InsertionPoint(op), extract.location
    init = build.empty([sizes[d] for d in loops], extract.results[0].type, ip=ip, loc=loc)
    own = [ir.AffineMap.get(len(loops), 0, [e.compose(renaming) for e in maps[n].results]) for n in read]
    gather, block = build.generic(
        [op.operands[n] for n in read], [init], [*own, ir.AffineMap.get_identity(len(loops))],
        build.iterator_array(["parallel"] * len(loops)), ip=ip, loc=loc,
    )  # fmt: skip
    replaced = {op.regions[0].blocks[0].arguments[n]: block.arguments[i] for i, n in enumerate(read)}
    for inner in (*needed, extract):
        copy = inner.clone(ip=ir.InsertionPoint(block))
        if inner.name == "linalg.index":
            new = loops.index(int(inner.attributes["dim"].value))
            copy.attributes["dim"] = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), new)
        for number, value in enumerate(inner.operands):
            copy.operands[number] = replaced.get(value, value)
        replaced.update(zip(inner.results, copy.results, strict=True))
    result = replaced[extract.results[0]]
    ir.Operation.create("linalg.yield", [], [result], ip=ir.InsertionPoint(block), loc=loc)
    return gather.results[0], ir.AffineMap.get(len(sizes), 0, [ir.AffineExpr.get_dim(d) for d in loops])


def _is_dim(expression: ir.AffineExpr) -> bool:
    return isinstance(expression, ir.AffineDimExpr)


def _loops_of(needed: Sequence[ir.Operation]) -> set[int]:
    return {int(inner.attributes["dim"].value) for inner in needed if inner.name == "linalg.index"}


def _loop_index(value: ir.Value) -> int | None:
    """The loop whose index `value` is, seen through casts."""
    while not isinstance(value.owner, ir.Block):
        owner = value.owner.operation
        if owner.name == "linalg.index":
            return int(owner.attributes["dim"].value)
        if owner.name not in _CASTS:
            return None
        value = owner.operands[0]
    return None


def _read_directly(op: ir.Operation, extract: ir.Operation) -> bool:
    """Make the gather an ordinary read if every index is a loop of its own; return whether it was."""
    table, *indices = extract.operands
    loops = [_loop_index(index) for index in indices]
    sizes = build.loop_sizes(op, build.indexing_maps(op))
    if None in loops or len(set(loops)) != len(loops):
        return False
    extents = [sizes[loop] for loop in loops if loop is not None]
    if any(extent > size for extent, size in zip(extents, build.shape_of(table), strict=True)):
        return False
    ip, loc = ir.InsertionPoint(op), op.location
    if tuple(extents) != build.shape_of(table):
        table = build.leading_slice(table, extents, ip=ip, loc=loc)
    rank = len(sizes)
    m = ir.AffineMap.get(rank, 0, [ir.AffineExpr.get_dim(loop) for loop in loops])
    inits = list(op.operands)[build.input_count(op) :]
    new, block = build.generic(
        [table], inits, [m, build.indexing_maps(op)[-1]], op.attributes["iterator_types"], ip=ip, loc=loc
    )
    build.keep_attributes(op, new)
    ir.Operation.create("linalg.yield", [], [block.arguments[0]], ip=ir.InsertionPoint(block), loc=loc)
    op.results[0].replace_all_uses_with(new.results[0])
    op.erase()
    return True
