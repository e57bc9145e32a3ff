"""Building the functions of a cut program: ops cloned with what they read from outside as arguments."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager

from torch_mlir import ir
from torch_mlir.dialects import arith, func, tensor

from jogak.ir.barrier import BARRIER
from jogak.ir.fingerprint import fingerprint
from jogak.ir.structured import region_ops
from jogak.runtime.grid import Grid
from jogak.sharding.mesh import Mesh

_OURS = "jogak."
_ALIAS = "hal.tensor.alias"
"""IREE's op for a value in memory that is given: who reads its result reads that memory."""
_STORAGE = "!hal.buffer_view"


@contextmanager
def unknown_ops(context: ir.Context) -> Iterator[None]:
    """A context that takes ops of IREE which it does not know."""
    before = context.allow_unregistered_dialects
    context.allow_unregistered_dialects = True
    try:
        yield
    finally:
        context.allow_unregistered_dialects = before


class FunctionBuilder:
    """A module that functions are added to.

    Args:
        context: of the program.
        values: of the program by number.
        numbers: the number of each value.
        ambient: values without a number: each function that reads one makes it again.
        grid: the mesh that positions are asked on.
    """

    def __init__(
        self,
        context: ir.Context,
        values: Sequence[ir.Value],
        numbers: Mapping[ir.Value, int],
        ambient: Set[ir.Value],
        grid: Grid,
    ) -> None:
        self.context = context
        self.values = values
        self.numbers = numbers
        self.ambient = ambient
        self.mesh = grid.mesh or Mesh((), ())
        with context, ir.Location.unknown():
            self.module = ir.Module.create()
        self._count = 0

    def add(
        self, ops: Sequence[ir.Operation], again: Sequence[bool], reads: Sequence[int], writes: Sequence[int]
    ) -> tuple[str, tuple[str, ...]]:
        """Add a function.

        Args:
            ops: what it does, in order.
            again: for each op whether it is done again and must not be merged with the first one.
            reads: the values that are its arguments.
            writes: the values that are its results.

        Returns:
            Its name, and the mesh axes whose positions are arguments behind those that it reads. In front of them comes
            the memory for each result.
        """
        name = f"segment_{self._count}"
        self._count += 1
        with self.context, ir.Location.unknown():
            body = _Body(self, name)
            for number in writes:
                body.store(self.values[number])
            for number in reads:
                body.take(self.values[number])
            for op, repeats in zip(ops, again, strict=True):
                body.put(op, barrier=body.known(op) and repeats)
            body.end([self.values[number] for number in writes])
        return name, tuple(body.positions)

    def text(self) -> str:
        """The module in MLIR's generic form, which needs no dialect to be registered."""
        text: str = self.module.operation.get_asm(print_generic_op_form=True, enable_debug_info=False)
        return text


class _Body:
    """One function while it is built.

    Attributes:
        new: for each value of the program the one here.
        positions: the argument that holds the device's position on an axis.
        storage: the argument in whose memory a result is put.
        done: what ops did so far, and with which values.
    """

    def __init__(self, builder: FunctionBuilder, name: str) -> None:
        self.builder = builder
        self.new: dict[ir.Value, ir.Value] = {}
        self.positions: dict[str, ir.Value] = {}
        self.storage: dict[ir.Value, ir.Value] = {}
        self.done: set[Hashable] = set()
        self.index, self.i64 = ir.IndexType.get(), ir.IntegerType.get_signless(64)
        empty = ir.FunctionType.get([], [])
        self.function = func.FuncOp(name, empty, ip=ir.InsertionPoint(builder.module.body))
        self.block = self.function.add_entry_block()
        self.at = ir.InsertionPoint(self.block)

    def take(self, value: ir.Value) -> None:
        """Make a value of the program an argument."""
        argument = self.block.add_argument(self._outside(value.type), ir.Location.unknown())
        if isinstance(value.type, ir.RankedTensorType):
            self.new[value] = argument
            return
        held = tensor.ExtractOp(argument, [], ip=self.at).result
        self.new[value] = self._cast(held, value.type)

    def store(self, value: ir.Value) -> None:
        """Make memory for a result an argument."""
        kind = ir.Type.parse(_STORAGE, self.builder.context)
        self.storage[value] = self.block.add_argument(kind, ir.Location.unknown())

    def _stored(self, value: ir.Value, here: ir.Value) -> ir.Value:
        """A result in its memory. What reads it behind this does so there: IREE copies a result that has readers
        where it is made, and holds both until the function ends.
        """
        sizes = ir.DenseI32ArrayAttr.get([1, 0, 1, 0])
        made = ir.Operation.create(
            _ALIAS, [here.type], [here, self.storage[value]], {"operandSegmentSizes": sizes}, ip=self.at
        )
        return made.result

    def _outside(self, type_: ir.Type) -> ir.Type:
        """The type of an argument or result: always a tensor, and no `index`."""
        if isinstance(type_, ir.RankedTensorType):
            return type_
        return ir.RankedTensorType.get([], self.i64 if type_ == self.index else type_)

    def _cast(self, value: ir.Value, type_: ir.Type) -> ir.Value:
        return value if value.type == type_ else arith.IndexCastOp(type_, value, ip=self.at).result

    def end(self, values: Sequence[ir.Value]) -> None:
        """Return values of the program."""
        results = []
        for value in values:
            here = self.new[value]
            if not isinstance(here.type, ir.RankedTensorType):
                kind = self._outside(here.type)
                scalar = tensor.FromElementsOp(kind, [self._cast(here, kind.element_type)], ip=self.at).result
                here = self._stored(value, scalar)
            results.append(here)
        func.ReturnOp(results, ip=self.at)
        inputs = [argument.type for argument in self.block.arguments]
        kind = ir.FunctionType.get(inputs, [result.type for result in results])
        self.function.attributes["function_type"] = ir.TypeAttr.get(kind)

    def known(self, op: ir.Operation) -> bool:
        """Whether an op before does the same with the same values, as far as can be told: IREE would do it once."""
        found = fingerprint(op)
        if found is None:
            return True
        read = (*op.operands, *found.captured)
        key = found.key, tuple(None if value in self.builder.ambient else value for value in read)
        before = key in self.done
        self.done.add(key)
        return before

    def put(self, op: ir.Operation, *, barrier: bool = False) -> None:
        """Do an op of the program here."""
        if op.name == "shard.all_slice":
            self.new[op.results[0]] = self._slice(op)
        elif op.name in ("shard.process_multi_index", "shard.process_linear_index"):
            self._position(op)
        else:
            self._clone(op, barrier)
        for value in op.results:
            if value in self.storage and isinstance(value.type, ir.RankedTensorType):
                self.new[value] = self._stored(value, self.new[value])

    def _clone(self, op: ir.Operation, barrier: bool) -> None:
        operands = [self._here(value) for value in op.operands]
        outer = {
            value: self._here(value) for inner in region_ops(op) for value in inner.operands if self._is_outer(value)
        }
        if barrier:
            operands = [self._behind(old, here) for old, here in zip(op.operands, operands, strict=True)]
        made = op.clone(ip=self.at)
        for place, value in enumerate(operands):
            made.operands[place] = value
        for inner in region_ops(made):
            for place, value in enumerate(inner.operands):
                if value in outer:
                    inner.operands[place] = outer[value]
        for name in [name for name in made.attributes if str(name).startswith(_OURS)]:
            del made.attributes[name]
        self.new |= dict(zip(op.results, made.results, strict=True))

    def _is_outer(self, value: ir.Value) -> bool:
        return value in self.builder.numbers or value in self.builder.ambient

    def _here(self, value: ir.Value) -> ir.Value:
        """The value in this function; a constant is made where it is first read."""
        if value not in self.new:
            self.put(value.owner)
        return self.new[value]

    def _behind(self, old: ir.Value, here: ir.Value) -> ir.Value:
        """A value that the compiler cannot recognize; constants stay as they are."""
        if old in self.builder.ambient or not isinstance(here.type, ir.RankedTensorType):
            return here
        return ir.Operation.create(BARRIER, [here.type], [here], ip=self.at).result

    def _axis(self, name: str) -> ir.Value:
        """The position of the device on a mesh axis, as an index."""
        if name not in self.positions:
            self.positions[name] = self.block.add_argument(self.i64, ir.Location.unknown())
        return self._cast(self.positions[name], self.index)

    def _constant(self, number: int) -> ir.Value:
        return arith.ConstantOp(self.index, number, ip=self.at).result

    def _linear(self, axes: Sequence[str]) -> ir.Value:
        """The position of the device in a group."""
        found = self._constant(0)
        for name in axes:
            scaled = arith.MulIOp(found, self._constant(self.builder.mesh.sizes[name]), ip=self.at).result
            found = arith.AddIOp(scaled, self._axis(name), ip=self.at).result
        return found

    def _axes(self, op: ir.Operation, attribute: str) -> list[str]:
        names = self.builder.mesh.axes
        held = op.attributes.get(attribute, ())
        return [names[int(axis)] for axis in held]

    def _position(self, op: ir.Operation) -> None:
        if op.name == "shard.process_linear_index":
            self.new[op.results[0]] = self._linear(self.builder.mesh.axes)
            return
        names = self._axes(op, "axes") or list(self.builder.mesh.axes)
        self.new |= {result: self._axis(name) for result, name in zip(op.results, names, strict=True)}

    def _slice(self, op: ir.Operation) -> ir.Value:
        source, kind = self._here(op.operands[0]), op.results[0].type
        dim = int(op.attributes["slice_axis"].value)
        sizes = list(kind.shape)
        start = arith.MulIOp(self._linear(self._axes(op, "grid_axes")), self._constant(sizes[dim]), ip=self.at).result
        offsets = [0] * len(sizes)
        offsets[dim] = ir.ShapedType.get_dynamic_size()
        return tensor.ExtractSliceOp(kind, source, [start], [], [], offsets, sizes, [1] * len(sizes), ip=self.at).result
