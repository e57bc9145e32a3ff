"""What a `linalg` op says about itself: its loops, its indexing maps and what its region does, as plain data.

Everything that reads `linalg` (sharding rules, partition, FLOP counts) reads it here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

from torch_mlir import ir

from jogak.cost.kernel import PLAIN, Arithmetic, Form
from jogak.ir.affine import LinearExpr, linear_map
from jogak.ir.barrier import BARRIER
from jogak.ir.eager import passes_of
from jogak.ir.permute import is_outgoing
from jogak.sharding.sharding import Combiner

COMBINERS = {
    "arith.addf": Combiner.ADD, "arith.addi": Combiner.ADD, "arith.mulf": Combiner.MUL, "arith.muli": Combiner.MUL,
    "arith.maximumf": Combiner.MAX, "arith.maxnumf": Combiner.MAX, "arith.maxsi": Combiner.MAX,
    "arith.minimumf": Combiner.MIN, "arith.minnumf": Combiner.MIN, "arith.minsi": Combiner.MIN,
    "arith.andi": Combiner.AND, "arith.ori": Combiner.OR,
}  # fmt: skip
"""Region ops that combine partial results, by name. Unsigned maxima are missing: a collective compares with sign."""

_BOOLEAN_COMBINERS = {
    "arith.maxui": Combiner.OR, "arith.minsi": Combiner.OR, "arith.ori": Combiner.OR, "arith.minui": Combiner.AND,
    "arith.maxsi": Combiner.AND, "arith.muli": Combiner.AND, "arith.andi": Combiner.AND,
}  # fmt: skip
"""The same on `i1`, where true is -1 to a signed comparison and a sum is an exclusive or."""

RESHAPES = {"tensor.expand_shape", "tensor.collapse_shape"}
_RENAMES = {"tensor.cast", "shard.shard", BARRIER}
_CASTS = {"arith.index_cast", "arith.extsi", "arith.extui", "arith.trunci"}
FREE_OPS = {
    "arith.constant", "arith.index_cast", "arith.select", "linalg.index", "linalg.yield", "tensor.extract",
}  # fmt: skip
"""Region ops that cost no arithmetic."""

SPECIAL = {
    f"math.{name}" for name in ("exp", "exp2", "expm1", "log", "log2", "log1p", "tanh", "erf", "sin", "cos", "powf")
}  # fmt: skip
"""Region ops that are transcendental functions, which devices compute more slowly than sums and products."""

_MAPS: dict[str, tuple[LinearExpr | None, ...]] = {}
"""Maps by their text."""


@dataclass(frozen=True)
class Extract:
    """A `tensor.extract` in a region: a read of a captured tensor.

    Attributes:
        op: the op.
        loops: for each dimension of the table the loop that addresses it directly; None where data does.
        yielded: whether its value is what the region yields, unchanged.
    """

    op: ir.Operation
    loops: tuple[int | None, ...]
    yielded: bool

    @property
    def table(self) -> ir.Value:
        return self.op.operands[0]


class Structured:
    """A `linalg.generic` read once.

    Attributes:
        op: the op.
        maps: for each operand (inputs, then outputs) its map over the loops; None where an expression is not linear.
        parallel: for each loop whether it is parallel.
        inputs: number of input operands; the operands behind them are the outputs.
    """

    def __init__(self, op: ir.Operation) -> None:
        self.op = op
        self.maps = tuple(_read_map(attribute) for attribute in op.attributes["indexing_maps"])
        self.parallel = tuple("parallel" in str(kind) for kind in op.attributes["iterator_types"])
        self.inputs = int(next(iter(op.attributes["operandSegmentSizes"])))

    @property
    def operands(self) -> list[ir.Value]:
        return list(self.op.operands)

    @property
    def outputs(self) -> list[ir.Value]:
        return list(self.op.operands)[self.inputs :]

    @property
    def body(self) -> ir.Block:
        return self.op.regions[0].blocks[0]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Iterations of each loop; a loop that no operand has as a plain dimension has size 0 (unknown)."""
        sizes = [0] * len(self.parallel)
        for value, exprs in zip(self.operands, self.maps, strict=True):
            shape = shape_of(value)
            for expr, size in zip(exprs, shape, strict=True):
                if expr is not None and expr.loop is not None:
                    sizes[expr.loop] = size
        return tuple(sizes)

    @cached_property
    def extracts(self) -> list[Extract]:
        """Every read of a captured tensor in the region."""
        terminator = list(self.body.operations)[-1]
        yielded = set(terminator.operands)
        return [
            Extract(
                op.operation, tuple(_index_loop(i) for i in list(op.operands)[1:]), op.operation.results[0] in yielded
            )
            for op in self.body.operations
            if op.operation.name == "tensor.extract"
        ]

    @cached_property
    def captures(self) -> list[ir.Value]:
        """The tensors that the region reads from outside, each once, in order."""
        tables: list[ir.Value] = []
        for extract in self.extracts:
            if extract.table not in tables:
                tables.append(extract.table)
        return tables

    @cached_property
    def combiners(self) -> tuple[Combiner | None, ...]:
        """For each result the operation that its reduction loops combine with; None where it is not recognized."""
        terminator = list(self.body.operations)[-1]
        accumulators = list(self.body.arguments)[self.inputs :]
        return tuple(
            _combiner(value, accumulator, accumulators)
            for value, accumulator in zip(terminator.operands, accumulators, strict=True)
        )

    @cached_property
    def flops(self) -> float:
        """Arithmetic operations: ops of the region times iterations."""
        return float(region_arithmetic(self.op) * prod(max(size, 1) for size in self.sizes))


def _read_map(attribute: ir.Attribute) -> tuple[LinearExpr | None, ...]:
    """The map of an operand; a program has few distinct ones, and to write one is faster than to take it apart."""
    text = str(attribute)
    found = _MAPS.get(text)
    if found is None:
        found = _MAPS[text] = linear_map(ir.AffineMapAttr(attribute).value)
    return found


def shape_of(value: ir.Value) -> tuple[int, ...]:
    """The static shape of a tensor value; () for a scalar."""
    type_ = value.type
    return tuple(type_.shape) if isinstance(type_, ir.RankedTensorType) else ()


def is_tensor(value: ir.Value) -> bool:
    return isinstance(value.type, ir.RankedTensorType)


def element_of(value: ir.Value) -> str:
    """The element type as MLIR writes it: `f32`, `i64`; a scalar's own type."""
    return str(value.type.element_type if is_tensor(value) else value.type)


def _index_loop(value: ir.Value) -> int | None:
    """The loop whose index this value is, seen through casts; None when it depends on data."""
    while not isinstance(value, ir.BlockArgument):
        op = value.owner
        if op.name == "linalg.index":
            return int(ir.IntegerAttr(op.attributes["dim"]).value)
        if op.name not in _CASTS:
            return None
        value = op.operands[0]
    return None


def _combiner(value: ir.Value, accumulator: ir.Value, accumulators: list[ir.Value]) -> Combiner | None:
    """The combiner of `yield combine(accumulator, f(inputs))`, or None."""
    if isinstance(value, ir.BlockArgument):
        return None
    combiner = combiner_of(value.owner)
    if combiner is None:
        return None
    others = [operand for operand in value.owner.operands if operand != accumulator]
    if len(others) != 1 or any(depends_on(others[0], other) for other in accumulators):
        return None
    return combiner


def combiner_of(op: ir.Operation) -> Combiner | None:
    """What a scalar op of a region does when it merges two partial results; None where no collective can."""
    element = op.results[0].type
    boolean = isinstance(element, ir.IntegerType) and element.width == 1
    return (_BOOLEAN_COMBINERS if boolean else COMBINERS).get(op.name)


def depends_on(value: ir.Value, source: ir.Value) -> bool:
    """Whether a region value is computed from `source`, inside one block."""
    seen: set[ir.Value] = set()
    todo = [value]
    while todo:
        current = todo.pop()
        if current == source:
            return True
        if isinstance(current, ir.BlockArgument) or current in seen:
            continue
        seen.add(current)
        todo.extend(current.owner.operands)
    return False


def region_ops(op: ir.Operation) -> Iterator[ir.Operation]:
    """Every op inside `op`'s regions, at any depth."""
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield inner.operation
                yield from region_ops(inner.operation)


def region_arithmetic(op: ir.Operation) -> int:
    """How many arithmetic operations one iteration of a `linalg` op takes; where it is (index arithmetic) is none."""
    return sum(_is_arithmetic(inner.operation) for inner in op.regions[0].blocks[0].operations)


def arithmetic_of(op: ir.Operation) -> Arithmetic:
    """What one iteration of an op does: a sum of products of different tensors is a contraction or a convolution."""
    if op.name != "linalg.generic":
        return PLAIN
    form = Structured(op)
    weights = _weights(form)
    special = sum(weight for inner, weight in weights if inner.name in SPECIAL)
    names = {inner.operation.name for inner in form.body.operations}
    passes = sum(weight for _, weight in weights)
    return Arithmetic(_form(form, names), region_arithmetic(op), special, len(weights), passes)


def _weights(op: Structured) -> list[tuple[ir.Operation, float]]:
    """The passes that an engine without a compiler makes, each with its share of the iterations."""
    sizes = [max(size, 1) for size in op.sizes]
    counts = lambda inner: inner.name in ("arith.select", "tensor.extract") or _is_arithmetic(inner)  # noqa: E731
    found = passes_of(op.body, op.maps, len(sizes), counts)
    return [(inner, prod(sizes[loop] for loop in own) / prod(sizes)) for inner, own in found.items()]


def _form(op: Structured, names: set[str]) -> Form:
    product = names >= {"arith.mulf", "arith.addf"} or names >= {"arith.muli", "arith.addi"}
    iterations = prod(max(size, 1) for size in op.sizes)
    largest = max((prod(shape_of(value)) for value in op.operands), default=0)
    if all(op.parallel) or not product or iterations <= largest:
        return Form.VECTOR
    windows = any(expr is not None and len(expr.terms) > 1 for exprs in op.maps for expr in exprs)
    return Form.CONVOLUTION if windows else Form.CONTRACTION


def _is_arithmetic(op: ir.Operation) -> bool:
    if op.name in FREE_OPS or not len(op.results):
        return False
    types = [op.results[0].type, *(operand.type for operand in op.operands)]
    return not any(isinstance(each, ir.IndexType) for each in types)


def region_values(op: ir.Operation) -> Iterator[ir.Value]:
    """Every operand of every op inside `op`'s regions."""
    for inner in region_ops(op):
        yield from inner.operands


def is_view(op: ir.Operation) -> bool:
    """Whether the result of an op is bytes of its operand, in their order: a reshape, or a slice in one stretch."""
    if op.name != "tensor.extract_slice":
        return op.name in RESHAPES or op.name in _RENAMES or is_outgoing(op)
    shape, sizes = shape_of(op.operands[0]), list(op.attributes["static_sizes"])
    cut = next((dim for dim, size in enumerate(sizes) if size != 1), len(sizes))
    unit = all(stride == 1 for stride in op.attributes["static_strides"])
    return unit and len(op.operands) == 1 and sizes[cut + 1 :] == list(shape)[cut + 1 :]
