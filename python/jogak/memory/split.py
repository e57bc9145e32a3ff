"""Elementwise ops that read many tensors, as chains of ops that read two: a sum of nine need not hold nine at once.

Fusion makes one op of a chain of additions, and then every term is alive in it. The chain in its body is cut where one
value goes on, and that value becomes a tensor, over which the next op writes. The arithmetic and its order stay, so
that results are the same bits; each cut costs one more write and read of a tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch_mlir import ir

from jogak.ir.rewrite.build import empty, generic, indexing_maps, input_count, is_parallel, keep_attributes
from jogak.ir.structured import shape_of
from jogak.memory.fit import Fit
from jogak.memory.reading import TapeReading, read_tape
from jogak.memory.recompute import minimum_bytes
from jogak.memory.tape import Tape
from jogak.memory.trace import arrays_of, trace
from jogak.memory.unbucket import find_buckets, take_apart

FEWEST = 3
"""Inputs of an op that can be split."""
_WORTH = 0.04
"""Taking buckets apart is tried where they hold at least this part of what is alive beside the arguments."""
_ROUNDS = 4
"""How often what holds up the plan is split."""


Solve = Callable[[Tape, float], Fit]
"""Makes a tape fit, in so many seconds."""


def fit_split(
    function: ir.Operation, reading: TapeReading, solve: Solve, time_limit: float, *, least: bool = False
) -> tuple[TapeReading, Fit]:
    """Make a program fit: collectives in buckets or apart, whichever is cheaper, and split what holds it up otherwise.

    Args:
        reading: of the function.
        time_limit: seconds of search for each form that ops are split into; with buckets and without share them.
        least: whether what fits is split, too, because less memory is asked for.

    Returns:
        The program as it is now, and the plan for it; the lowest one where none fits.
    """
    if not _wait(function, reading):
        return _fit_chains(function, reading, solve, time_limit, least)
    reading, found = _fit_chains(function, reading, solve, time_limit / 2, least)
    plan = _apart(function, reading, solve, time_limit / 2)
    bound = min(found.bound_seconds, plan.bound_seconds + plan.latency_seconds)
    found, plan = replace(found, bound_seconds=bound), replace(plan, bound_seconds=bound)
    if _rank(plan, least) >= _rank(found, least):
        return reading, found
    take_apart(find_buckets(function))
    return read_tape(function, reading.seconds), plan


def _apart(function: ir.Operation, reading: TapeReading, solve: Solve, time_limit: float) -> Fit:
    """The plan of a program whose buckets are taken apart; the program stays as it is."""
    copy = function.clone()
    buckets = find_buckets(copy)
    take_apart(buckets)
    apart = read_tape(copy, reading.seconds).tape
    longer = apart.seconds - reading.tape.seconds
    return replace(solve(apart, time_limit), unbucketed=len(buckets), latency_seconds=longer)


def _rank(plan: Fit, least: bool) -> tuple[bool, float]:
    """Less is better: what fits before what does not, then time, or bytes where those are asked for."""
    by_bytes = least or not plan.fits
    return not plan.fits, plan.placement.arena if by_bytes else plan.added_seconds + plan.latency_seconds


def _wait(function: ir.Operation, reading: TapeReading) -> bool:
    """Whether what waits in buckets takes a part of the memory that is worth planning again."""
    waiting = sum(bucket.bytes for bucket in find_buckets(function))
    if not waiting:
        return False
    peak = trace(arrays_of(reading.tape), range(len(reading.tape.steps))).peak
    return waiting >= _WORTH * (peak - reading.tape.resident)


def _fit_chains(
    function: ir.Operation, reading: TapeReading, solve: Solve, time_limit: float, least: bool
) -> tuple[TapeReading, Fit]:
    found = solve(reading.tape, time_limit)
    for _ in range(_ROUNDS):
        if (found.fits and not least) or not split_chains(_holding_up(reading, found)):
            break
        reading = read_tape(function, reading.seconds)
        found = solve(reading.tape, time_limit)
    return reading, found


def least_need(reading: TapeReading) -> int:
    """Bytes that no plan goes below, whatever is split: the largest need of an op that cannot be."""
    return minimum_bytes(reading.tape, {number for number, op in enumerate(reading.ops) if can_split(op)})


def _holding_up(reading: TapeReading, found: Fit) -> list[ir.Operation]:
    """Ops that can be split, several of whose operands are alive at the worst position of a plan."""
    layout = found.placement.layout
    worst = max(range(len(layout.live)), key=layout.live.__getitem__)
    alive = {
        [value for position, value in buffer.values if position <= worst][-1]
        for buffer in layout.buffers
        if buffer.first <= worst <= buffer.last
    }
    return [
        op
        for op, step in zip(reading.ops, reading.tape.steps, strict=True)
        if len(alive.intersection((*step.reads, *step.writes))) >= FEWEST and can_split(op)
    ]


def split_chains(operations: Sequence[ir.Operation]) -> int:
    """Split ops as far as their bodies allow; returns how many were split."""
    return sum(_split(op) for op in operations)


def _split(op: ir.Operation) -> bool:
    """Peel the last terms off an op until its body is no chain any more."""
    done = False
    while True:
        cut = _last_cut(op) if can_split(op) else None
        if cut is None:
            return done
        with op.location:
            op, done = _cut(op, cut), True


def can_split(op: ir.Operation) -> bool:
    """Whether an op has the right form: one result, elementwise, written whole, with several inputs of its size."""
    if op.name != "linalg.generic" or len(op.results) != 1 or not is_parallel(op):
        return False
    inputs, maps = input_count(op), indexing_maps(op)
    accumulator = op.regions[0].blocks[0].arguments[inputs]
    whole = maps[-1].is_permutation and next(iter(accumulator.uses), None) is None
    wide = [v for v in list(op.operands)[:inputs] if shape_of(v) == shape_of(op.results[0])]
    return whole and len(wide) >= FEWEST


def _last_cut(op: ir.Operation) -> ir.Value | None:
    """The value of the body with most inputs behind it through which all of them go on, but not all of the op's."""
    inside = [view.operation for view in op.regions[0].blocks[0].operations]
    inputs = list(op.regions[0].blocks[0].arguments)[: input_count(op)]
    kind = op.results[0].type.element_type
    best: tuple[int, ir.Value] | None = None
    for inner in inside[:-1]:
        if len(inner.results) != 1 or inner.results[0].type != kind or inner.name == "arith.constant":
            continue
        behind = _slice(inner)
        rest = [other for other in inside if other not in behind]
        leaks = any(
            value != inner.results[0] and not isinstance(value, ir.BlockArgument) and value.owner in behind
            for other in rest
            for value in other.operands
            if not _is_constant(value)
        )
        terms = [i for i, value in enumerate(inputs) if any(value in list(other.operands) for other in behind)]
        left = [i for i, value in enumerate(inputs) if any(value in list(other.operands) for other in rest)]
        if leaks or len(terms) < 2 or not left or set(left) & set(terms):
            continue
        if best is None or len(terms) > best[0]:
            best = (len(terms), inner.results[0])
    return None if best is None else best[1]


def _is_constant(value: ir.Value) -> bool:
    return not isinstance(value, ir.BlockArgument) and value.owner.name == "arith.constant"


def _slice(op: ir.Operation) -> list[ir.Operation]:
    """An op of a body and all that it needs."""
    found, waiting = [op], [op]
    while waiting:
        for value in waiting.pop().operands:
            if not isinstance(value, ir.BlockArgument) and value.owner.parent == op.parent and value.owner not in found:
                found.append(value.owner)
                waiting.append(value.owner)
    return found


def _cut(op: ir.Operation, value: ir.Value) -> ir.Operation:
    """Make two ops of one, the first of which makes a value of the body; returns the first."""
    inputs, maps, body = input_count(op), indexing_maps(op), op.regions[0].blocks[0]
    inside = [view.operation for view in body.operations]
    behind = _slice(value.owner)
    rest = [inner for inner in inside[:-1] if inner not in behind]
    rest = [inner for inner in inside[:-1] if inner in rest or (inner in behind and _is_constant(inner.results[0]))]
    terms = _used(body, inputs, behind)
    left = _used(body, inputs, [*rest, inside[-1]])
    output = op.results[0].type
    ip, loc, kinds = ir.InsertionPoint(op), op.location, op.attributes["iterator_types"]

    def made(
        numbers: Sequence[int], first: ir.Value | None, ops: Sequence[ir.Operation], end: ir.Value
    ) -> ir.Operation:
        extra = [] if first is None else [first]
        operands = [*extra, *(op.operands[n] for n in numbers)]
        used = [*([maps[-1]] * len(extra)), *(maps[n] for n in numbers), maps[-1]]
        init = empty(shape_of(op.results[0]), output.element_type, ip=ip, loc=loc)
        new, block = generic(operands, [init], used, kinds, ip=ip, loc=loc)
        keep_attributes(op, new)
        forms = {body.arguments[n]: block.arguments[len(extra) + k] for k, n in enumerate(numbers)}
        if first is not None:
            forms[value] = block.arguments[0]
        inner_ip = ir.InsertionPoint(block)
        for inner in ops:
            copy = inner.clone(ip=inner_ip)
            for place, operand in enumerate(inner.operands):
                copy.operands[place] = forms.get(operand, operand)
            forms.update(zip(inner.results, copy.results, strict=True))
        ir.Operation.create("linalg.yield", [], [forms[end]], ip=inner_ip, loc=loc)
        return new

    first = made(terms, None, [inner for inner in inside if inner in behind], value)
    last = made(left, first.results[0], rest, inside[-1].operands[0])
    op.results[0].replace_all_uses_with(last.results[0])
    op.erase()
    return first


def _used(body: ir.Block, inputs: int, ops: Sequence[ir.Operation]) -> list[int]:
    """The inputs that ops of a body read."""
    read = {value for op in ops for value in op.operands}
    return [number for number in range(inputs) if body.arguments[number] in read]
