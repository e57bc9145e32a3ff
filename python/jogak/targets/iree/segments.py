"""The per-device program as one module of functions, cut at collectives, for another compiler to read.

A function takes the tensors that it reads from outside and the positions of the device on the mesh axes that it asks
for, so that one module serves every device. Constants, and tensors that only hold one value, are made again in each
function that reads them. Scalars between functions travel in tensors of rank 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from torch_mlir import ir

from jogak.errors import JogakError
from jogak.ir.barrier import BARRIER
from jogak.ir.diagnostics import fail, source_location
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.permute import is_outgoing
from jogak.ir.pipelines import LOWERING
from jogak.ir.structured import is_view, region_ops
from jogak.memory.attributes import ARENA, RECOMPUTE_OF
from jogak.memory.reading import bytes_of
from jogak.memory.tape import padded
from jogak.runtime import liveness
from jogak.runtime.attributes import Cache
from jogak.runtime.grid import Grid, read_collective, read_mesh
from jogak.runtime.program import CollectiveStep, Program
from jogak.runtime.types import TensorType
from jogak.targets.distributed.schedule import overlap
from jogak.targets.iree.cut import Node, crossing, cut, read_outside
from jogak.targets.iree.functions import FunctionBuilder, unknown_ops
from jogak.targets.iree.fusion import in_registers
from jogak.targets.iree.memory import Memory, refine

_ALIASES = {"shard.shard", "builtin.unrealized_conversion_cast", BARRIER}
_IGNORED = {"shard.sharding", "shard.get_sharding", "func.return"}
_AMBIENT = {"arith.constant", "tensor.empty", "linalg.fill", "shard.process_multi_index", "shard.process_linear_index"}
"""Ops that every function repeats where their operands are such too."""
Measure = Callable[[str], Sequence[int]]
"""The bytes of intermediate values in each function of a module."""
_ROUNDS = 4
"""How often functions are cut by what the compiler says that they take."""
_LOCAL = {"shard.all_slice", "shard.process_multi_index", "shard.process_linear_index", "shard.grid_shape"}


@dataclass(frozen=True)
class OpStep:
    """An op of the program before it is cut."""

    op: ir.Operation
    operands: tuple[int, ...]
    results: tuple[int, ...]
    location: str
    frees: tuple[int, ...] = ()


@dataclass(frozen=True)
class CallStep:
    """A call of a compiled function.

    Attributes:
        name: of the function.
        axes: mesh axes whose positions follow the tensors.
        types: of the results.
    """

    name: str
    axes: tuple[str, ...]
    types: tuple[TensorType, ...]
    operands: tuple[int, ...]
    results: tuple[int, ...]
    location: str
    frees: tuple[int, ...] = ()


@dataclass(frozen=True)
class Segmented:
    """A program that is cut.

    Attributes:
        program: its arguments and results; its steps are those of `steps` that communicate.
        steps: calls and collectives in order.
        text: the module of the functions.
    """

    program: Program
    steps: tuple[CallStep | CollectiveStep, ...]
    text: str


@dataclass
class _Reading:
    """The program by numbers."""

    grid: Grid
    numbers: dict[ir.Value, int] = field(default_factory=dict)
    values: list[ir.Value] = field(default_factory=list)
    ambient: set[ir.Value] = field(default_factory=set)
    steps: list[OpStep | CollectiveStep] = field(default_factory=list)
    cache: Cache = field(default_factory=Cache)

    def define(self, value: ir.Value) -> int:
        self.numbers[value] = len(self.values)
        self.values.append(value)
        return len(self.values) - 1

    def read(self, op: ir.Operation) -> None:
        if op.name in _IGNORED:
            return
        if op.name in _ALIASES or is_outgoing(op) or self._is_local_view(op):
            for result, operand in zip(op.results, op.operands, strict=False):
                self._alias(result, operand)
        elif op.name in _AMBIENT and all(value in self.ambient for value in op.operands):
            self.ambient.update(op.results)
        elif _is_collective(op):
            self.steps.append(read_collective(op, self.grid, self.cache, self.numbers, self.define))
        else:
            operands = tuple(dict.fromkeys(self.numbers[value] for value in self._reads(op)))
            results = tuple(self.define(result) for result in op.results)
            self.steps.append(OpStep(op, operands, results, str(source_location(op.location))))

    def _is_local_view(self, op: ir.Operation) -> bool:
        """Whether each function that reads the result takes that view itself, so that one of the two is passed."""
        if not is_view(op) or op.operands[0] not in self.numbers:
            return False
        readers = [use.owner for use in op.results[0].uses]
        return not any(_is_collective(each) or each.name == "func.return" for each in readers)

    def _alias(self, result: ir.Value, operand: ir.Value) -> None:
        if operand in self.ambient:
            fail(operand.owner, "a constant behind a barrier cannot be cut")
        self.numbers[result] = self.numbers[operand]

    def _reads(self, op: ir.Operation) -> Iterable[ir.Value]:
        """Values from outside the op that it or its regions read."""
        for inner in (op, *region_ops(op)):
            yield from (value for value in inner.operands if value in self.numbers)


def _is_collective(op: ir.Operation) -> bool:
    return bool(op.name.startswith("shard.")) and op.name not in _LOCAL and op.name not in _ALIASES | _IGNORED


def segment(module: ir.Module, program: Program, measure: Measure | None = None) -> Segmented:
    """Cut the program of a device.

    Args:
        module: with `@main`; it is not changed.
        program: the same, read.
        measure: what a compiler takes for functions, which are cut so that they keep to the planned memory; None to
            cut them without.

    Raises:
        JogakError: a result of the program is a constant, or an op cannot be read or lowered.
    """
    main = main_function(module)
    block = main.regions[0].blocks[0]
    reading = _Reading(read_mesh(module))
    for value in block.arguments:
        reading.define(value)
    for op in block.operations:
        reading.read(op.operation)
    returned = list(list(block.operations)[-1].operands)
    for number, value in enumerate(returned):
        if value not in reading.numbers:
            raise JogakError(f"result {number} of the program is a constant, which the target iree cannot return")
    results = [reading.numbers[value] for value in returned]
    read = _renumbered(program, results)
    ordered = overlap(reading.steps, results)
    nodes = [_node(step) for step in ordered]
    parts = cut(nodes)
    with unknown_ops(module.context):
        if measure is not None and ARENA in main.attributes:
            limit = ir.IntegerAttr(main.attributes[ARENA]).value
            memory = _memory(reading, read, ordered, limit)
            parts = _fitting(module.context, reading, ordered, parts, memory, results, measure)
        outside = read_outside(nodes, parts, results)
        steps, text = _functions(module.context, reading, ordered, parts, outside)
    return Segmented(read, liveness.plan(steps, results), text)


def _memory(reading: _Reading, program: Program, ordered: Sequence[OpStep | CollectiveStep], limit: int) -> Memory:
    updated = {each.updates for each in program.results}
    kept = {each.value for number, each in enumerate(program.arguments) if number not in updated}
    return Memory(
        sizes={number: padded(bytes_of(value)) for number, value in enumerate(reading.values)},
        arguments=[each.value for each in program.arguments],
        kept=frozenset(kept.union(each.value for each in program.results)),
        fused=frozenset(_fused(reading, ordered)),
        limit=limit,
    )


def _fused(reading: _Reading, ordered: Sequence[OpStep | CollectiveStep]) -> Iterator[int]:
    for step, after in pairwise(ordered):
        if isinstance(step, OpStep) and isinstance(after, OpStep):
            value = in_registers(step.op, after.op)
            if value is not None:
                yield reading.numbers[value]


def _fitting(
    context: ir.Context,
    reading: _Reading,
    ordered: Sequence[OpStep | CollectiveStep],
    parts: list[list[int]],
    memory: Memory,
    results: Sequence[int],
    measure: Measure,
) -> list[list[int]]:
    """The parts, cut further where what the compiler takes for a function is too much."""
    nodes = [_node(step) for step in ordered]
    known: dict[tuple[int, ...], int] = {}
    for _ in range(_ROUNDS):
        functions = [tuple(part) for part in parts if not nodes[part[0]].communicates]
        new = [part for part in functions if part not in known]
        outside = read_outside(nodes, parts, results)
        text = _functions(context, reading, ordered, new, outside)[1]
        known.update(zip(new, measure(text), strict=True))
        taken = {at: known[tuple(part)] for at, part in enumerate(parts) if tuple(part) in known}
        refined = refine(nodes, parts, memory, taken)
        if refined == parts:
            break
        parts = refined
    return parts


def _functions(
    context: ir.Context,
    reading: _Reading,
    ordered: Sequence[OpStep | CollectiveStep],
    parts: Sequence[Sequence[int]],
    outside: frozenset[int],
) -> tuple[list[CallStep | CollectiveStep], str]:
    """The calls and collectives of a program that is cut, and the module of the functions.

    Args:
        parts: the numbers of the steps in each part.
        outside: values that another part than their own reads, or the program returns.
    """
    nodes = [_node(step) for step in ordered]
    builder = FunctionBuilder(context, reading.values, reading.numbers, reading.ambient, reading.grid)
    steps: list[CallStep | CollectiveStep] = []
    for part in parts:
        first = ordered[part[0]]
        if isinstance(first, CollectiveStep):
            steps.append(first)
        else:
            reads, writes = crossing(nodes, part, outside)
            steps.append(_call(builder, reading, [ordered[number] for number in part], reads, writes))
    run_pipeline(builder.module, LOWERING)
    return steps, builder.text()


def _node(step: OpStep | CollectiveStep) -> Node:
    if isinstance(step, CollectiveStep):
        return Node(step.operands, step.results, communicates=True)
    return Node(step.operands, step.results, communicates=False, again=RECOMPUTE_OF in step.op.attributes)


def _renumbered(program: Program, results: Sequence[int]) -> Program:
    """The program's arguments and results with the numbers that values have here."""
    arguments = tuple(replace(each, value=number) for number, each in enumerate(program.arguments))
    returned = tuple(replace(each, value=value) for each, value in zip(program.results, results, strict=True))
    return replace(program, arguments=arguments, results=returned)


def _call(
    builder: FunctionBuilder, reading: _Reading, steps: Sequence[Any], reads: Sequence[int], writes: Sequence[int]
) -> CallStep:
    ops = [step.op for step in steps]
    again = [RECOMPUTE_OF in op.attributes for op in ops]
    name, axes = builder.add(ops, again, reads, writes)
    types = tuple(reading.cache.type(reading.values[number].type) for number in writes)
    return CallStep(name, axes, types, tuple(reads), tuple(writes), steps[0].location)
