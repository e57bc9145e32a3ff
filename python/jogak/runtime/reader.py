"""From an MLIR module to a `Program`.

Constants and tensors that hold one value everywhere are followed through the program and become part of the kernels
that read them, so that the fills before reductions cost nothing. Steps whose results nobody reads are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch_mlir import ir
from torch_mlir.passmanager import PassManager

from jogak.ir.barrier import BARRIER
from jogak.ir.diagnostics import fail, source_location
from jogak.ir.module import main_function
from jogak.ir.permute import is_outgoing
from jogak.memory.attributes import ARENA, OFFSET, RECOMPUTE_OF, SCRATCH, SCRATCH_OFFSET
from jogak.runtime import liveness
from jogak.runtime.arena import ArenaPlan
from jogak.runtime.attributes import Cache, read_dense
from jogak.runtime.grid import read_collective, read_mesh
from jogak.runtime.kernels import tensor_ops
from jogak.runtime.program import Argument, ConstantStep, KernelStep, Program, Result, Step
from jogak.runtime.regions import IGNORED, read_region
from jogak.runtime.spec import KernelSpec, LinalgSpec, Region, RegionSpec, TensorSpec, loop_sizes
from jogak.runtime.types import TensorType

_KEEPS_SPLAT = {"tensor.expand_shape", "tensor.collapse_shape", "tensor.extract_slice", "tensor.cast"}
"""Ops that make a tensor of one value from a tensor of one value."""
_ALIASES = {"shard.shard", "builtin.unrealized_conversion_cast", BARRIER}
"""Ops whose results are their operands."""
_NO_REGION = Region((), (), (), ())
_SKIPPED = {"shard.sharding", "shard.get_sharding", "func.return"}


def read_program(module: ir.Module) -> Program:
    """Read `@main`; a named `linalg` op is read as the generic op that it stands for.

    Raises:
        JogakError: there is no `@main`, or it holds an op that cannot be executed.
    """
    return read_with_ops(module)[0]


def read_with_ops(module: ir.Module) -> tuple[Program, dict[int, ir.Operation]]:
    """The same, and the op behind each of the program's values that is no argument.

    Raises:
        JogakError: there is no `@main`, or it holds an op that cannot be executed.
    """
    if not any(_is_named(op.operation) for op in main_function(module).regions[0].blocks[0].operations):
        return _read(module)
    with module.context:
        copy = ir.Module.parse(module.operation.get_asm(binary=False, enable_debug_info=True))
        PassManager.parse("builtin.module(func.func(linalg-generalize-named-ops))").run(copy.operation)
        return _read(copy)


def _is_named(op: ir.Operation) -> bool:
    return op.name.startswith("linalg.") and op.name not in ("linalg.generic", "linalg.fill")


def _read(module: ir.Module) -> tuple[Program, dict[int, ir.Operation]]:
    main = main_function(module)
    block = main.regions[0].blocks[0]
    reader = _Reader(read_mesh(module))
    arguments = _arguments(main, block, reader)
    for op in block.operations:
        reader.read(op.operation)
    terminator = list(block.operations)[-1].operation
    results = _results(main, terminator, reader)
    steps = liveness.plan(reader.steps, [result.value for result in results])
    makers = [(result, op.operation) for op in block.operations for result in op.results]
    ops = {reader.numbers[result]: op for result, op in reversed(makers) if result in reader.numbers}
    program = Program(arguments, results, steps, reader.next, reader.mesh.mesh, _arena(main, arguments, reader))
    return program, ops


def _arena(main: ir.OpView, arguments: Sequence[Argument], reader: _Reader) -> ArenaPlan | None:
    """The offsets that `jogak-plan-memory` wrote; None where it did not run."""
    if ARENA not in main.attributes:
        return None
    offsets = dict(reader.offsets)
    for argument, notes in zip(arguments, _dictionaries(main, "arg_attrs", len(arguments)), strict=True):
        offsets[argument.value] = int(notes[OFFSET].value)
    return ArenaPlan(int(main.attributes[ARENA].value), offsets, reader.scratch)


def _dictionaries(main: ir.OpView, name: str, count: int) -> list[dict[str, Any]]:
    if name not in main.attributes:
        return [{} for _ in range(count)]
    return [_named_attributes(entry) for entry in main.attributes[name]]


def _named_attributes(dictionary: ir.DictAttr) -> dict[str, Any]:
    return {named.name: named.attr for named in dictionary}


def _arguments(main: ir.OpView, block: ir.Block, reader: _Reader) -> tuple[Argument, ...]:
    values = list(block.arguments)
    found = []
    for number, (value, notes) in enumerate(zip(values, _dictionaries(main, "arg_attrs", len(values)), strict=True)):
        name = notes["jogak.name"].value if "jogak.name" in notes else f"arg{number}"
        role = notes["jogak.role"].value if "jogak.role" in notes else "input"
        found.append(Argument(name, role, reader.cache.type(value.type), reader.define(value)))
    return tuple(found)


def _results(main: ir.OpView, terminator: ir.Operation, reader: _Reader) -> tuple[Result, ...]:
    values = list(terminator.operands)
    found = []
    for number, (value, notes) in enumerate(zip(values, _dictionaries(main, "res_attrs", len(values)), strict=True)):
        name = notes["jogak.name"].value if "jogak.name" in notes else f"result{number}"
        role = notes["jogak.role"].value if "jogak.role" in notes else "output"
        updates = int(notes["jogak.updates"].value) if "jogak.updates" in notes else None
        found.append(Result(name, role, reader.cache.type(value.type), reader.numbers[value], updates))
    return tuple(found)


class _Reader:
    """The state of reading one function: numbers of values, constants, and the steps so far."""

    def __init__(self, mesh: Any) -> None:
        self.mesh = mesh
        self.cache = Cache()
        self.numbers: dict[Any, int] = {}
        self.next = 0
        self.steps: list[Step] = []
        self.offsets: dict[int, int] = {}
        self.scratch: dict[int, tuple[int, int]] = {}
        self._scalars: dict[Any, str] = {}
        self._splats: dict[Any, str] = {}

    def define(self, value: ir.Value) -> int:
        """Give the next number to a value."""
        self.numbers[value] = self.next
        self.next += 1
        return self.next - 1

    def read(self, op: ir.Operation) -> None:
        """Append the steps of one op."""
        if op.name not in _SKIPPED:
            self._read(op, op.name)
        if OFFSET in op.attributes:
            held = zip(op.results, op.attributes[OFFSET], strict=True)
            self.offsets.update((self.numbers[result], offset) for result, offset in held if offset >= 0)
        if SCRATCH_OFFSET in op.attributes:
            place = int(op.attributes[SCRATCH_OFFSET].value), int(op.attributes[SCRATCH].value)
            self.scratch[self.numbers[op.results[0]]] = place

    def _read(self, op: ir.Operation, name: str) -> None:
        if name in _ALIASES or is_outgoing(op):
            self.numbers.update(
                {result: self.numbers[operand] for result, operand in zip(op.results, op.operands, strict=False)}
            )
        elif name == "arith.constant":
            self._constant(op)
        elif name == "linalg.generic":
            self._generic(op)
        elif name.startswith("shard."):
            self.steps.append(read_collective(op, self.mesh, self.cache, self.numbers, self.define))
        else:
            self._other(op, name)

    def _step(self, op: ir.Operation, spec: KernelSpec, operands: Sequence[ir.Value]) -> None:
        numbers = tuple([self.numbers[value] for value in operands])
        results = tuple([self.define(result) for result in op.results])
        again = RECOMPUTE_OF in op.attributes
        self.steps.append(KernelStep(spec, numbers, results, str(source_location(op.location)), again=again))

    def _constant(self, op: ir.Operation) -> None:
        value, attribute = op.results[0], op.attributes["value"]
        type_ = self.cache.type(value.type)
        if not isinstance(value.type, ir.RankedTensorType):
            text = str(self.cache.attribute(attribute))
            self._scalars[value] = text
            self._splat(op, text)
        elif isinstance(attribute, ir.DenseElementsAttr) and attribute.is_splat:
            self._splat(op, str(self.cache.attribute(attribute.get_splat_value())))
        else:
            data = read_dense(attribute, type_)
            self.steps.append(ConstantStep(data, type_, (self.define(value),), str(source_location(op.location))))

    def _splat(self, op: ir.Operation, text: str) -> None:
        """A result that holds one value everywhere."""
        value = op.results[0]
        type_ = self.cache.type(value.type)
        self._splats[value] = text
        self._step(op, TensorSpec("arith.constant", (("value", text),), (), (type_,)), [])

    def _generic(self, op: ir.Operation) -> None:
        operands = list(op.operands)
        types = tuple([self.cache.type(value.type) for value in operands])
        maps: Any = self.cache.attribute(op.attributes["indexing_maps"])
        iterators: Any = self.cache.attribute(op.attributes["iterator_types"])
        segments: Any = self.cache.attribute(op.attributes["operandSegmentSizes"])
        parallel = tuple(["parallel" in kind for kind in iterators])
        sizes = loop_sizes(maps, tuple([type_.shape for type_ in types]), len(parallel))
        if sizes is None:
            fail(op, "the size of a loop of this linalg.generic does not follow from its operands")
        region, captures = read_region(op.regions[0].blocks[0], self.cache, self._scalars)
        splats = tuple([self._splats.get(value) for value in operands])
        spec = LinalgSpec(sizes, parallel, maps, segments[0], types, splats, region)
        yielded = region.yields[0] if not region.ops and len(region.yields) == 1 else -1
        if yielded >= 0 and splats[yielded] is not None and not spec.reads(segments[0]):
            self._splat(op, str(splats[yielded]))
        else:
            self._step(op, spec, [*(operands[k] for k in spec.tensors()), *captures])

    def _other(self, op: ir.Operation, name: str) -> None:
        operands = list(op.operands)
        if name in _KEEPS_SPLAT and operands[0] in self._splats:
            self._splat(op, self._splats[operands[0]])
        elif name == "linalg.fill" and operands[0] in self._scalars:
            self._splat(op, self._scalars[operands[0]])
        elif name.startswith("tm_tensor."):
            self._with_region(op)
        elif name == "tensor.pad":
            self._pad(op)
        elif tensor_ops.supported(name):
            kept = operands[:1] if name == "linalg.fill" else operands
            self._step(op, self._tensor_spec(op, kept, self._attributes(op)), kept)
        else:
            fail(op, f"the op {name!r} cannot be executed", hint="lower it to linalg, tensor, arith or math ops first")

    def _attributes(self, op: ir.Operation) -> tuple[tuple[str, Any], ...]:
        if op.name == "linalg.fill":
            return ()
        return tuple(pair for pair in self.cache.attributes(op) if pair[0] not in IGNORED)

    def _tensor_spec(
        self, op: ir.Operation, operands: Sequence[ir.Value], attributes: tuple[tuple[str, Any], ...]
    ) -> TensorSpec:
        return TensorSpec(
            op.name, attributes, self._types(operands), tuple([self.cache.type(result.type) for result in op.results])
        )

    def _types(self, values: Sequence[ir.Value]) -> tuple[TensorType, ...]:
        return tuple([self.cache.type(value.type) for value in values])

    def _with_region(self, op: ir.Operation) -> None:
        operands = list(op.operands)
        segments: Any = self.cache.attribute(op.attributes["operandSegmentSizes"])
        blocks = [block for region in op.regions for block in region.blocks]
        region, captures = read_region(blocks[0], self.cache, self._scalars) if blocks else (_NO_REGION, [])
        if captures:
            fail(op, f"the region of this {op.name} captures a value from outside", hint="pass it as an operand")
        results = tuple([self.cache.type(result.type) for result in op.results])
        attributes = self._attributes(op)
        self._step(op, RegionSpec(op.name, attributes, segments[0], self._types(operands), results, region), operands)

    def _pad(self, op: ir.Operation) -> None:
        """The padding value is what the region yields: a constant, or a scalar from outside."""
        region, captures = read_region(op.regions[0].blocks[0], self.cache, self._scalars)
        source = op.operands[0]
        attributes = self._attributes(op)
        if len(region.ops) == 1 and region.ops[0].name == "arith.constant":
            attributes = (*attributes, ("value", region.ops[0].attribute("value")))
        elif region.ops or len(captures) != 1:
            fail(op, "the padding value of this tensor.pad is computed in its region", hint="only a constant can be")
        operands = [source, *captures]
        self._step(op, self._tensor_spec(op, operands, attributes), operands)
