"""Reads a function into `Factors`: which dimensions are one and the same, and where reshapes cut them.

Every value can be seen in two forms. The *free* form is cut as reshapes ask for, and has no unit dimensions: most of
the program computes on it. The *flat* form is the one that the outside knows: arguments have it, updated arguments,
and the elementwise operations that only feed updates (an optimizer's step), so that parameters keep their shapes.
Between the two lies a reshape, which carries cuts but does not force them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch_mlir import ir

from jogak.ir.barrier import BARRIER
from jogak.ir.rewrite import build
from jogak.ir.rewrite.factors import Factors, Group, Node, Window
from jogak.ir.rewrite.splats import is_splat

Nodes = tuple[Node, ...]


@dataclass
class Dimensions:
    """The nodes of a function's values, and which operations compute on the flat form.

    Attributes:
        factors: the nodes.
        forms: nodes of the dimensions of a value, by (value, whether flat).
        uses: nodes of the dimensions of one operand that is a splat, by (operation, operand number): every use of a
        splat
            has a shape of its own.
        loops: nodes of the loops of a linalg operation.
        ranges: slices that are read as ranges of dimensions; others keep their shapes.
        updates: operations that only feed updates.
        ties: argument number of each result that is an update.
    """

    factors: Factors = field(default_factory=Factors)
    forms: dict[tuple[ir.Value, bool], Nodes] = field(default_factory=dict)
    uses: dict[tuple[ir.Operation, int], Nodes] = field(default_factory=dict)
    loops: dict[ir.Operation, Nodes] = field(default_factory=dict)
    ranges: set[ir.Operation] = field(default_factory=set)
    updates: set[ir.Operation] = field(default_factory=set)
    ties: dict[int, int] = field(default_factory=dict)

    def nodes(self, value: ir.Value, flat: bool) -> Nodes:
        """The nodes of a form of `value`; they are made when they are first asked for."""
        key = (value, flat)
        if key not in self.forms:
            self.forms[key] = tuple(self.factors.new(size) for size in build.shape_of(value))
            other = self.forms.get((value, not flat))
            if other is not None:
                self.factors.edges += [Group((a,), b) for a, b in zip(self.forms[key], other, strict=True)]
        return self.forms[key]

    def operand(self, op: ir.Operation, number: int) -> Nodes:
        """The nodes of an operand as `op` sees it."""
        value = op.operands[number]
        if not is_splat(value):
            return self.nodes(value, op in self.updates)
        key = (op, number)
        if key not in self.uses:
            self.uses[key] = tuple(self.factors.new(size) for size in build.shape_of(value))
        return self.uses[key]

    def freeze_flat(self) -> None:
        """From here on no dimension of a flat form is cut any more."""
        for (_, flat), nodes in self.forms.items():
            if flat:
                for node in nodes:
                    self.factors.freeze(node)

    def pieces(self, nodes: Sequence[Node], flat: bool) -> list[tuple[int, ...]]:
        """For each node what it becomes: its pieces, or nothing for a unit dimension of the free form."""
        sizes = [self.factors.pieces(node) for node in nodes]
        return [() if pieces == (1,) else pieces for pieces in sizes] if not flat and (1,) in sizes else sizes


def read_dimensions(function: ir.Operation) -> Dimensions:
    """Unify and link the dimensions of all values of `function`; nothing is cut yet."""
    dims = Dimensions(ties=update_ties(function))
    ops = build.top_level(function)
    dims.updates = _update_operations(ops, dims.ties)
    for argument in build.entry_block(function).arguments:
        if build.is_tensor(argument):
            dims.nodes(argument, True)
    for op in ops:
        reader = _READERS.get(op.name)
        if reader is not None:
            reader(dims, op)
    _tie_updates(dims, function, ops[-1])
    return dims


def update_ties(function: ir.Operation) -> dict[int, int]:
    """From the number of a result that is an update to the number of the argument that it updates."""
    if "res_attrs" not in function.attributes:
        return {}
    ties: dict[int, int] = {}
    for number, attributes in enumerate(function.attributes["res_attrs"]):
        if "jogak.updates" in attributes:
            ties[number] = int(attributes["jogak.updates"].value)
    return ties


def _update_operations(ops: Sequence[ir.Operation], ties: dict[int, int]) -> set[ir.Operation]:
    """The elementwise operations that only feed updates."""
    terminator = ops[-1]
    updates: set[ir.Operation] = set()
    for op in reversed(ops[:-1]):
        if op.name != "linalg.generic" or not build.is_parallel(op):
            continue
        uses = [use for result in op.results for use in result.uses]
        if uses and all(
            use.operand_number in ties if use.owner.operation == terminator else use.owner.operation in updates
            for use in uses
        ):
            updates.add(op)
    return updates


def _tie_updates(dims: Dimensions, function: ir.Operation, terminator: ir.Operation) -> None:
    arguments = build.entry_block(function).arguments
    for number, argument in dims.ties.items():
        value = terminator.operands[number]
        if build.is_tensor(value) and not is_splat(value):
            _unify(dims.factors, dims.nodes(value, True), dims.nodes(arguments[argument], True))


def _unify(factors: Factors, first: Nodes, second: Nodes) -> None:
    for a, b in zip(first, second, strict=True):
        factors.unify(a, b)


def simplify(expression: ir.AffineExpr, sizes: Sequence[int]) -> ir.AffineExpr:
    """`expression` with loops of one iteration replaced by 0: `d2 + d5` is `d2` for a 1x1 window."""
    if isinstance(expression, ir.AffineDimExpr | ir.AffineConstantExpr):
        return expression
    zero = ir.AffineExpr.get_constant(0)
    replacements = [zero if size == 1 else ir.AffineExpr.get_dim(d) for d, size in enumerate(sizes)]
    return expression.compose(ir.AffineMap.get(len(sizes), 0, replacements)).maybe_downcast()


def loops_in(expression: ir.AffineExpr) -> set[int]:
    """The loops that an affine expression mentions."""
    if isinstance(expression, ir.AffineDimExpr):
        return {expression.position}
    if isinstance(expression, ir.AffineBinaryExpr):
        return loops_in(expression.lhs) | loops_in(expression.rhs)
    return set()


def _read_generic(dims: Dimensions, op: ir.Operation) -> None:
    maps = build.indexing_maps(op)
    sizes = build.loop_sizes(op, maps)
    loops = dims.loops[op] = tuple(dims.factors.new(size) for size in sizes)
    for number, m in enumerate(maps):
        _link(dims, dims.operand(op, number), m, loops, sizes)
    flat = op in dims.updates
    for result, m in zip(op.results, maps[build.input_count(op) :], strict=True):
        _link(dims, dims.nodes(result, flat), m, loops, sizes)


def _link(dims: Dimensions, nodes: Nodes, m: ir.AffineMap, loops: Nodes, sizes: Sequence[int]) -> None:
    factors = dims.factors
    for node, original in zip(nodes, m.results, strict=True):
        expression = simplify(original, sizes)
        if isinstance(expression, ir.AffineDimExpr) and factors.size(node) == sizes[expression.position]:
            factors.unify(node, loops[expression.position])
            continue
        for loop in loops_in(expression):
            factors.freeze(loops[loop])
        factors.freeze(node)


def reassociation(op: ir.Operation) -> list[list[int]]:
    """The groups of a collapse_shape or expand_shape."""
    return [[int(d.value) for d in group] for group in op.attributes["reassociation"]]


def _read_reshape(dims: Dimensions, op: ir.Operation) -> None:
    if is_splat(op.operands[0]):
        return
    source, result = dims.nodes(op.operands[0], False), dims.nodes(op.results[0], False)
    many, few = (source, result) if op.name == "tensor.collapse_shape" else (result, source)
    for whole, group in zip(few, reassociation(op), strict=False):
        dims.factors.edges.append(Group(tuple(many[d] for d in group), whole))


def static(op: ir.Operation, name: str) -> list[int]:
    """One of the static index lists of a slice or pad."""
    return [int(v) for v in op.attributes[f"static_{name}"]]


def is_full_rank(op: ir.Operation) -> bool:
    """Whether a slice keeps all dimensions, with static bounds and unit strides where it cuts."""
    whole = op.operands[0] if op.name == "tensor.extract_slice" else op.operands[1]
    part = op.results[0] if op.name == "tensor.extract_slice" else op.operands[0]
    if len(build.shape_of(whole)) != len(build.shape_of(part)):
        return False
    return len(op.operands) == (1 if op.name == "tensor.extract_slice" else 2) and set(static(op, "strides")) <= {1}


def _read_extract_slice(dims: Dimensions, op: ir.Operation) -> None:
    if not is_full_rank(op):
        return
    dims.ranges.add(op)
    for whole, part, offset in zip(
        dims.operand(op, 0), dims.nodes(op.results[0], False), static(op, "offsets"), strict=True
    ):
        _read_range(dims, whole, part, offset)


def _read_range(dims: Dimensions, whole: Node, part: Node, offset: int) -> None:
    if dims.factors.size(whole) == dims.factors.size(part):
        dims.factors.unify(whole, part)
    else:
        dims.factors.edges.append(Window(whole, part, offset))


def _read_insert_slice(dims: Dimensions, op: ir.Operation) -> None:
    if not is_full_rank(op):
        return
    dims.ranges.add(op)
    whole = dims.nodes(op.results[0], False)
    _unify(dims.factors, whole, dims.operand(op, 1))
    for node, part, offset in zip(whole, dims.operand(op, 0), static(op, "offsets"), strict=True):
        _read_range(dims, node, part, offset)


def concat_offsets(extents: Sequence[int]) -> list[int]:
    """Where each operand of a concat begins along the concatenated dimension."""
    return [0, *itertools.accumulate(extents)][:-1]


def _read_concat(dims: Dimensions, op: ir.Operation) -> None:
    along = int(op.attributes["dim"].value)
    whole = dims.nodes(op.results[0], False)
    for number, offset in enumerate(concat_offsets([build.shape_of(operand)[along] for operand in op.operands])):
        for d, (node, part) in enumerate(zip(whole, dims.operand(op, number), strict=True)):
            _read_range(dims, node, part, offset if d == along else 0)


def _read_pad(dims: Dimensions, op: ir.Operation) -> None:
    for source, result, low, high in zip(
        dims.operand(op, 0), dims.nodes(op.results[0], False), static(op, "low"), static(op, "high"), strict=True
    ):
        if low == high == 0:
            dims.factors.unify(source, result)
        else:
            dims.factors.freeze(source)
            dims.factors.freeze(result)


def _read_barrier(dims: Dimensions, op: ir.Operation) -> None:
    _unify(dims.factors, dims.operand(op, 0), dims.nodes(op.results[0], False))


_READERS: dict[str, Callable[[Dimensions, ir.Operation], None]] = {
    "linalg.generic": _read_generic,
    BARRIER: _read_barrier,
    "tensor.collapse_shape": _read_reshape,
    "tensor.expand_shape": _read_reshape,
    "tensor.extract_slice": _read_extract_slice,
    "tensor.insert_slice": _read_insert_slice,
    "tensor.concat": _read_concat,
    "tensor.pad": _read_pad,
}
