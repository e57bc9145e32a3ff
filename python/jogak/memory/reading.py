"""From the program of one device to a `Tape`: which ops are steps, which values have bytes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

from torch_mlir import ir

from jogak.cost.element import element_size
from jogak.ir.structured import Structured, element_of, is_tensor, is_view, region_values, shape_of
from jogak.memory.attributes import SCRATCH
from jogak.memory.overwrite import Operand, overwritable
from jogak.memory.tape import Step, Tape, padded
from jogak.sharding.reading import result_attributes

_KEEPS_SPLAT = {"tensor.expand_shape", "tensor.collapse_shape", "tensor.extract_slice", "tensor.cast"}
_SKIPPED = {"shard.sharding", "shard.get_sharding"}
_ONCE = {"shard.send", "shard.recv", "arith.constant"}
"""Transfers between two devices match one to one, and canonicalization makes one of equal constants, whatever their
attributes; everything else gives the same when it is done again."""

Seconds = Callable[[ir.Operation], float]


@dataclass
class TapeReading:
    """A tape beside the function that it was read from.

    Attributes:
        tape: the plain data.
        ops: the op of each step.
        values: the MLIR value of each value of the tape.
        numbers: the tape's value behind an MLIR value: a view has its source's.
        uses: for each step the operands and captured values that it reads at run time.
        ambient: ops that do nothing at run time: constants, fills that kernels do themselves, empty tensors.
        views: results that are names for bytes of another value, with their ops.
        sources: the value that each of them is a view of.
        splats: values that hold one number everywhere.
        seconds: how long an op takes.
        scratch: the op of each of the tape's values that is no MLIR value, but memory that only this op takes.
    """

    tape: Tape = field(default_factory=lambda: Tape((), (), 0, frozenset()))
    ops: list[ir.Operation] = field(default_factory=list)
    values: list[ir.Value] = field(default_factory=list)
    numbers: dict[ir.Value, int] = field(default_factory=dict)
    uses: list[list[ir.Value]] = field(default_factory=list)
    ambient: list[ir.Operation] = field(default_factory=list)
    views: dict[ir.Value, ir.Operation] = field(default_factory=dict)
    sources: dict[ir.Value, ir.Value] = field(default_factory=dict)
    splats: set[ir.Value] = field(default_factory=set)
    seconds: Seconds = lambda op: 0.0
    scratch: dict[int, ir.Operation] = field(default_factory=dict)

    def add(self, value: ir.Value) -> int:
        """Give a value the next number."""
        self.numbers[value] = len(self.values)
        self.values.append(value)
        return self.numbers[value]

    def add_scratch(self, op: ir.Operation) -> tuple[int, ...]:
        """The value for what an op takes beside operands and results, which lives while the op runs; () for none."""
        if SCRATCH not in op.attributes or not len(op.results):
            return ()
        number = len(self.values)
        self.values.append(op.results[0])  # whose op it belongs to
        self.scratch[number] = op
        return (number,)

    def bytes(self, number: int) -> int:
        """Bytes of one of the tape's values, not rounded."""
        op = self.scratch.get(number)
        return bytes_of(self.values[number]) if op is None else int(ir.IntegerAttr(op.attributes[SCRATCH]).value)


def bytes_of(value: ir.Value) -> int:
    """Bytes of a tensor value on a device; 0 for a scalar."""
    return element_size(element_of(value)) * prod(shape_of(value)) if is_tensor(value) else 0


def read_tape(function: ir.Operation, seconds: Seconds = lambda op: 0.0) -> TapeReading:
    """Read a per-device function of one block.

    Args:
        seconds: how long an op takes.
    """
    block = function.regions[0].blocks[0]
    operations = [view.operation for view in block.operations if view.operation.name not in _SKIPPED]
    terminator = operations.pop()
    forms = [Structured(op) if op.name == "linalg.generic" else None for op in operations]
    splats = _splats(operations, forms)
    outside = {*block.arguments, *(result for op in operations for result in op.results)}
    uses = [list(_uses(op, form, splats, outside)) for op, form in zip(operations, forms, strict=True)]
    needed = {value for values in uses for value in values} | set(terminator.operands)
    updates = _updates(function, terminator)
    made = TapeReading(splats=splats, seconds=seconds)
    for argument in block.arguments:
        made.add(argument)
    steps: list[Step] = []
    for op, form, used in zip(operations, forms, uses, strict=True):
        if _is_passive(op, splats) and op.results[0] not in needed:
            made.ambient.append(op)
        elif is_view(op) and op.results[0] not in splats:
            made.views[op.results[0]] = op
            made.sources[op.results[0]] = op.operands[0]
            made.numbers[op.results[0]] = made.numbers[op.operands[0]]
        else:
            steps.append(_step(made, op, form, used, updates, seconds))
    results = frozenset(made.numbers[value] for value in terminator.operands)
    sizes = [padded(made.bytes(number)) for number in range(len(made.values))]
    made.tape = Tape(steps, sizes, len(block.arguments), results)
    return made


def _is_passive(op: ir.Operation, splats: set[ir.Value]) -> bool:
    return op.name == "tensor.empty" or (len(op.results) == 1 and op.results[0] in splats)


def _step(
    made: TapeReading,
    op: ir.Operation,
    form: Structured | None,
    used: list[ir.Value],
    updates: dict[ir.Value, ir.Value],
    seconds: Seconds,
) -> Step:
    operands = [Operand(value, made.values[made.numbers[value]]) for value in used]
    reads = tuple(dict.fromkeys(made.numbers[value] for value in used))
    reuse = tuple(
        tuple(made.numbers[value] for value in overwritable(op, form, number, operands, updates.get(result)))
        for number, result in enumerate(op.results)
    )
    writes = (*(made.add(result) for result in op.results), *made.add_scratch(op))
    reuse += ((),) * (len(writes) - len(reuse))
    made.ops.append(op)
    made.uses.append(used)
    return Step(reads, writes, reuse, seconds(op), op.name in _ONCE)


def _updates(function: ir.Operation, terminator: ir.Operation) -> dict[ir.Value, ir.Value]:
    """What is returned as the next value of an argument, as the op made it, and that argument."""
    arguments = list(function.regions[0].blocks[0].arguments)
    found: dict[ir.Value, ir.Value] = {}
    for value, attributes in zip(terminator.operands, result_attributes(function), strict=True):
        if "jogak.updates" not in attributes:
            continue
        while not isinstance(value, ir.BlockArgument) and is_view(value.owner):
            value = value.owner.operands[0]
        found[value] = arguments[ir.IntegerAttr(attributes["jogak.updates"]).value]
    return found


def _splats(operations: Sequence[ir.Operation], forms: Sequence[Structured | None]) -> set[ir.Value]:
    """Scalar constants, and tensors that hold one number everywhere, which kernels know without reading memory."""
    found: set[ir.Value] = set()
    for op, form in zip(operations, forms, strict=True):
        if op.name == "arith.constant":
            held = op.attributes["value"]
            holds = not isinstance(held, ir.DenseElementsAttr) or held.is_splat
        elif form is not None:
            holds = _broadcasts_splat(form, found)
        else:
            holds = (op.name in _KEEPS_SPLAT or op.name == "linalg.fill") and op.operands[0] in found
        if holds:
            found.add(op.results[0])
    return found


def _broadcasts_splat(form: Structured, splats: set[ir.Value]) -> bool:
    inner = list(form.body.operations)
    if len(inner) != 1 or len(inner[0].operands) != 1 or form.inputs >= len(form.operands):
        return False
    arguments = list(form.body.arguments)
    yielded = inner[0].operands[0]
    if yielded not in arguments or form.operands[arguments.index(yielded)] not in splats:
        return False
    return not _reads(form, form.inputs)


def _uses(
    op: ir.Operation, form: Structured | None, splats: set[ir.Value], outside: set[ir.Value]
) -> Iterator[ir.Value]:
    """The values that an op reads at run time: no fills that a kernel starts from, no output that it only writes."""
    if len(op.results) == 1 and op.results[0] in splats:
        return
    if form is None:
        yield from list(op.operands)[:1] if op.name == "linalg.fill" else op.operands
    else:
        yield from (v for k, v in enumerate(form.operands) if v not in splats and _reads(form, k))
    captured = (value for value in region_values(op) if value in outside) if len(op.regions) else ()
    yield from (value for value in dict.fromkeys(captured) if is_tensor(value) or value not in splats)


def _reads(form: Structured, operand: int) -> bool:
    """Whether the old values of an operand matter: not where the region ignores them and writes every element."""
    if next(iter(list(form.body.arguments)[operand].uses), None) is not None:
        return True
    return operand >= form.inputs and not covers(form, operand)


def covers(form: Structured, operand: int) -> bool:
    """Whether the map of an operand reaches each of its elements, with a loop of its own for each dimension."""
    loops: list[int] = []
    for expr, size in zip(form.maps[operand], shape_of(form.operands[operand]), strict=True):
        if expr is None or (expr.loop is None and (expr.terms or expr.constant or size != 1)):
            return False
        if expr.loop is not None:
            loops.append(expr.loop)
    return len(set(loops)) == len(loops) and prod(form.sizes[k] for k in loops) == prod(
        shape_of(form.operands[operand])
    )
