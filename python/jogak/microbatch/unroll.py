"""From the program of one micro-batch to one program that does all of them, one after the other.

Each op whose value differs between micro-batches is copied for every one; the others, the optimizer among them, stay
single. An all-reduce becomes additions, each right behind the summand that it takes, so that a gradient lives no longer
than until the next is added to it. A value in which the micro-batches meet before the end (a batch normalization's
mean) is asked for by the first of them; then whatever it needs of the others is done before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch_mlir import ir
from torch_mlir.dialects import tensor

from jogak.ir.build import elementwise, index_constant, tensor_type
from jogak.ir.rewrite.build import reshape
from jogak.ir.structured import region_ops, shape_of
from jogak.microbatch.reading import POSITION, SLICE, Turn
from jogak.partition.optimize.collectives import reduction_of
from jogak.sharding.reading import MICRO_BATCH

_SUMS = {"sum": "add", "product": "mul", "max": "maximum", "min": "minimum", "bitwise_and": "and", "bitwise_or": "or"}
_INTEGER = {"maximum": "arith.maxsi", "minimum": "arith.minsi", "and": "arith.andi", "or": "arith.ori"}

_Task = tuple[int, int | None]
"""Number of an op, and of the micro-batch that it is done for; None where it is done once for all."""


@dataclass
class Unrolled:
    """What was made.

    Attributes:
        results: what the program returns.
        ops: ops of one micro-batch.
        early: for ops at which micro-batches meet, how many ops of a later micro-batch they need before their turn.
    """

    results: list[ir.Value] = field(default_factory=list)
    ops: int = 0
    early: Counter[ir.Operation] = field(default_factory=Counter)


def unroll(turn: Turn, arguments: Sequence[ir.Value], count: int) -> Unrolled:
    """Emit all micro-batches at the insertion point.

    Args:
        arguments: whole arguments, in the order of the program's.
        count: how many micro-batches.
    """
    emitter = _Emitter(turn, arguments, count)
    own = [number for number in range(len(turn.ops)) if turn.is_varying(number)]
    for each in range(count):
        for number in range(len(turn.ops)):
            if turn.is_join(number) or turn.is_varying(number):
                emitter.run((number, each))
    for number in range(len(turn.ops)):
        if not turn.is_varying(number):
            emitter.run(emitter.task_of(number, None))
    emitter.made.results = [emitter.value(result, None) for result in turn.results]
    emitter.made.ops = len(own)
    return emitter.made


class _Emitter:
    """What has been done for which micro-batch so far."""

    def __init__(self, turn: Turn, arguments: Sequence[ir.Value], count: int) -> None:
        self.turn = turn
        self.count = count
        self.made = Unrolled()
        self._whole = dict(zip(turn.block.arguments, arguments, strict=True))
        self._order = {value: number for number, value in enumerate(turn.block.arguments)}
        self._grouped: dict[ir.Value, ir.Value] = {}
        self._parts: dict[tuple[ir.Value, int], ir.Value] = {}
        self._done: dict[_Task, list[ir.Value]] = {}

    def task_of(self, number: int, each: int | None) -> _Task:
        """What has to be done for a micro-batch to have the results of an op."""
        if self.turn.is_join(number):
            return number, self.count - 1
        return number, each if self.turn.is_varying(number) else None

    def run(self, task: _Task) -> None:
        """Do something, and before it what it needs."""
        stack = [task]
        while stack:
            current = stack[-1]
            missing = next((each for each in self._needs(current) if each not in self._done), None)
            if missing is not None:
                stack.append(missing)
                continue
            stack.pop()
            if current not in self._done:
                self._done[current] = self._emit(current)
                self._count_early(task, current, stack)

    def _count_early(self, asked: _Task, current: _Task, stack: Sequence[_Task]) -> None:
        """Note what the second micro-batch does while the first is not done, and what asked for it."""
        if asked[1] == 0 and current[1] == 1 and not self.turn.is_join(current[0]):
            joins = [number for number, _ in stack if self.turn.is_join(number)]
            self.made.early[self.turn.ops[joins[0]]] += 1

    def _needs(self, task: _Task) -> Iterator[_Task]:
        number, each = task
        if self.turn.is_join(number) and each:
            yield number, each - 1
        for value in self.turn.reads[number]:
            if value in self.turn.producer:
                yield self.task_of(self.turn.producer[value], each)

    def value(self, value: ir.Value, each: int | None) -> ir.Value:
        """What a value of the program of one is for a micro-batch."""
        if value in self.turn.producer:
            number = self.turn.producer[value]
            results = list(self.turn.ops[number].results)
            return self._done[self.task_of(number, each)][results.index(value)]
        if value not in self.turn.cut:
            return self._whole[value]
        assert each is not None, "only what differs reads a part"
        if (value, each) not in self._parts:
            self._parts[value, each] = self._part(value, each)
        return self._parts[value, each]

    def _part(self, value: ir.Value, each: int) -> ir.Value:
        """A micro-batch of an argument.

        Its rows are every `count`-th one, so that a batch that is split over devices is cut on each of them; where the
        program knows positions in the batch they are neighbours.
        """
        whole, shape = self._whole[value], shape_of(value)
        if self.turn.ordered:
            return _sliced(
                whole, [each * shape[0], *[0] * (len(shape) - 1)], shape, shape, self._tag(None, value, each)
            )
        if value not in self._grouped:
            ip = ir.InsertionPoint.current
            grouped = (shape[0], self.count, *shape[1:])
            self._grouped[value] = reshape(whole, grouped, ip=ip, loc=ir.Location.unknown())
        offsets, sizes = [0, each, *[0] * (len(shape) - 1)], (shape[0], 1, *shape[1:])
        return _sliced(self._grouped[value], offsets, sizes, shape, self._tag(None, value, each))

    def _tag(self, number: int | None, argument: ir.Value | None, each: int) -> ir.Attribute:
        own = len(self.turn.ops) + self._order[argument] if number is None else number
        return ir.DenseI64ArrayAttr.get([each, own])

    def _emit(self, task: _Task) -> list[ir.Value]:
        number, each = task
        op = self.turn.ops[number]
        with op.location:
            if self.turn.is_join(number):
                assert each is not None, "every micro-batch takes part"
                return [self._join(op, number, each)]
            if op.name == POSITION:
                return [index_constant(each or 0) for _ in op.results]
            if op.name == SLICE:
                return [self._slice(op, number, each or 0)]
            copy = self._copy(op, number, each)
            return list(copy.results)

    def _copy(self, op: ir.Operation, number: int, each: int | None) -> ir.Operation:
        own = {value: self.value(value, each) for value in self.turn.reads[number]}
        copy = op.clone()
        for inner in (copy, *region_ops(copy)):
            for position, operand in enumerate(list(inner.operands)):
                if operand in own:
                    inner.operands[position] = own[operand]
        if each is not None:
            copy.attributes[MICRO_BATCH] = self._tag(number, None, each)
        return copy

    def _join(self, op: ir.Operation, number: int, each: int) -> ir.Value:
        """What the micro-batches up to this one give together."""
        own = self.value(op.operands[0], each)
        if op.name == "shard.all_gather":
            if each < self.count - 1:
                return own
            pieces = [self.value(op.operands[0], other) for other in range(self.count)]
            return tensor.ConcatOp(op.results[0].type, _dimension(op, "gather_axis"), pieces).result
        if each == 0:
            return own
        return self._added(self._done[number, each - 1][0], own, op, self._tag(number, None, each), each)

    def _added(self, before: ir.Value, own: ir.Value, op: ir.Operation, tag: ir.Attribute, each: int) -> ir.Value:
        """The sum so far and one more summand; 16-bit floats are summed in f32 and rounded once, with the last."""
        type_ = ir.RankedTensorType(op.results[0].type)
        combiner = reduction_of(op).removeprefix("#shard<partial ").removesuffix(">")
        narrow = isinstance(type_.element_type, ir.BF16Type | ir.F16Type) and combiner == "sum"
        wide = ir.F32Type.get() if narrow else type_.element_type

        def body(left: ir.Value, right: ir.Value) -> ir.Value:
            return _combined(combiner, _widened(left, wide), _widened(right, wide))

        identity = ir.AffineMap.get_identity(type_.rank)
        total = elementwise([before, own], [identity] * 2, tensor_type(type_.shape, wide), body)
        total.owner.attributes[MICRO_BATCH] = tag
        if not narrow or each < self.count - 1:
            return total
        return elementwise([total], [identity], type_, lambda value: _cast("arith.truncf", value, type_.element_type))

    def _slice(self, op: ir.Operation, number: int, each: int) -> ir.Value:
        whole, shape = self.value(op.operands[0], None), shape_of(op.results[0])
        along = _dimension(op, "slice_axis")
        offsets = [each * size if dim == along else 0 for dim, size in enumerate(shape)]
        return _sliced(whole, offsets, shape, shape, self._tag(number, None, each))


def _dimension(op: ir.Operation, name: str) -> int:
    return int(ir.IntegerAttr(op.attributes[name]).value)


def _cast(name: str, value: ir.Value, type_: ir.Type) -> ir.Value:
    return ir.Operation.create(name, [type_], [value]).result


def _widened(value: ir.Value, type_: ir.Type) -> ir.Value:
    return value if value.type == type_ else _cast("arith.extf", value, type_)


def _combined(combiner: str, left: ir.Value, right: ir.Value) -> ir.Value:
    kind = _SUMS[combiner]
    integer = isinstance(left.type, ir.IntegerType)
    name = _INTEGER.get(kind, f"arith.{kind}i") if integer else f"arith.{kind}f"
    return ir.Operation.create(name, [left.type], [left, right]).result


def _sliced(
    value: ir.Value, offsets: Sequence[int], sizes: Sequence[int], shape: Sequence[int], tag: ir.Attribute
) -> ir.Value:
    element = ir.RankedTensorType(value.type).element_type
    ones = [1] * len(sizes)
    op = tensor.ExtractSliceOp(tensor_type(shape, element), value, [], [], [], list(offsets), list(sizes), ones)
    op.operation.attributes[MICRO_BATCH] = tag
    return op.result
