"""Rewrites a function so that every dimension is one piece: reshapes disappear into the operations around them."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch_mlir import ir

from jogak.ir.barrier import BARRIER
from jogak.ir.rewrite import build
from jogak.ir.rewrite.build import Shape, flatten
from jogak.ir.rewrite.dimensions import Dimensions, concat_offsets, simplify, static
from jogak.ir.rewrite.factors import block_of
from jogak.ir.rewrite.splats import is_splat, reshaped_splat

Pieces = list[tuple[int, ...]]


@dataclass
class Rewriter:
    """The state of one rewrite.

    Attributes:
        dims: what every dimension is made of.
        base: what computes a value now, in some shape.
        made: a value in another shape, by (value, shape).
        original: shape that a value had before the rewrite.
        dead: operations that nothing needs any more, in order.
    """

    dims: Dimensions
    base: dict[ir.Value, ir.Value] = field(default_factory=dict)
    made: dict[tuple[ir.Value, Shape], ir.Value] = field(default_factory=dict)
    original: dict[ir.Value, Shape] = field(default_factory=dict)
    dead: list[ir.Operation] = field(default_factory=list)

    def define(self, value: ir.Value, replacement: ir.Value) -> None:
        """From here on `value` is computed by `replacement`, whatever its shape."""
        self.base[value] = replacement
        self.made[value, build.shape_of(replacement)] = replacement

    def remember(self, value: ir.Value) -> None:
        """Keep the shape that `value` has now as its original one."""
        self.original[value] = build.shape_of(value)

    def get(self, value: ir.Value, shape: Shape, before: ir.Operation) -> ir.Value:
        """`value` in this shape, available at `before`."""
        key = (value, shape)
        if key not in self.made:
            ip = ir.InsertionPoint(before)
            if is_splat(value):
                self.made[key] = reshaped_splat(value, shape, ip)
            else:
                base = self.base[value]
                loc = before.location if isinstance(base.owner, ir.Block) else base.owner.location
                self.made[key] = build.reshape(base, shape, ip=ip, loc=loc)
        return self.made[key]

    def get_original(self, value: ir.Value, before: ir.Operation) -> ir.Value:
        """`value` in the shape that it had before the rewrite, available at `before`."""
        if not build.is_tensor(value) or is_splat(value):
            return value
        return self.get(value, self.original[value], before)


def refine(function: ir.Operation, dims: Dimensions) -> None:
    """Rewrite `function` so that every dimension is cut as `dims` says."""
    state = Rewriter(dims)
    ops = build.top_level(function)
    for argument in build.entry_block(function).arguments:
        if build.is_tensor(argument):
            state.remember(argument)
            argument.set_type(_typed(argument, flatten(dims.pieces(dims.nodes(argument, True), True))))
            state.define(argument, argument)
    for op in ops[:-1]:
        for result in op.results:
            if build.is_tensor(result):
                state.remember(result)
        _REFINERS.get(op.name, _keep)(state, op)
    _refine_return(state, ops[-1])
    for op in reversed(state.dead):
        op.erase()
    _retype(function, ops[-1])


def _typed(value: ir.Value, shape: Sequence[int]) -> ir.Type:
    return ir.RankedTensorType.get(shape, value.type.element_type, value.type.encoding)


def _retype(function: ir.Operation, terminator: ir.Operation) -> None:
    inputs = [argument.type for argument in build.entry_block(function).arguments]
    results = [operand.type for operand in terminator.operands]
    function.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(inputs, results))


def _refine_return(state: Rewriter, op: ir.Operation) -> None:
    dims = state.dims
    for number, value in enumerate(list(op.operands)):
        if not build.is_tensor(value):
            continue
        if number in dims.ties and not is_splat(value):
            shape = flatten(dims.pieces(dims.nodes(value, True), True))
            op.operands[number] = state.get(value, shape, op)
        else:
            op.operands[number] = state.get_original(value, op)


def _keep(state: Rewriter, op: ir.Operation) -> None:
    """Leave an operation as it is, on operands of their original shapes."""
    for number, value in enumerate(list(op.operands)):
        op.operands[number] = state.get_original(value, op)
    if op.regions:
        _restore_captures(state, op)
    for result in op.results:
        if build.is_tensor(result):
            state.define(result, result)


def _restore_captures(state: Rewriter, op: ir.Operation) -> None:
    """Tensors that a region reads from outside keep their original shapes."""
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                for number, value in enumerate(inner.operands):
                    if value in state.original:
                        inner.operands[number] = state.get_original(value, op)


def _drop(state: Rewriter, op: ir.Operation) -> None:
    """Splats are rebuilt where they are used; the original stays for those who want its shape."""


def _refine_reshape(state: Rewriter, op: ir.Operation) -> None:
    dims, source, result = state.dims, op.operands[0], op.results[0]
    before = flatten(dims.pieces(dims.nodes(source, False), False))
    after = flatten(dims.pieces(dims.nodes(result, False), False))
    value = state.get(source, before, op)
    state.define(result, build.reshape(value, after, ip=ir.InsertionPoint(op), loc=op.location))
    state.dead.append(op)


def _refine_generic(state: Rewriter, op: ir.Operation) -> None:
    dims = state.dims
    flat = op in dims.updates
    maps = build.indexing_maps(op)
    loops = dims.pieces(dims.loops[op], flat)
    inputs = build.input_count(op)
    operands = [dims.pieces(dims.operand(op, n), flat) for n in range(len(maps))]
    for number, (m, pieces) in enumerate(zip(maps, operands, strict=True)):
        value = state.get(op.operands[number], flatten(pieces), op)
        op.operands[number] = _reached(value, m, pieces, loops, op)
    _restore_captures(state, op)
    if _MEMOIZED in op.attributes:
        del op.attributes[_MEMOIZED]
    if any(len(pieces) != 1 for pieces in (*loops, *(p for operand in operands for p in operand))):
        kinds = [kind for kind, pieces in zip(build.iterators(op), loops, strict=True) for _ in pieces]
        op.attributes["iterator_types"] = build.iterator_array(kinds)
        new = [_refine_map(m, pieces, loops) for m, pieces in zip(maps, operands, strict=True)]
        op.attributes["indexing_maps"] = build.map_array(new)
        _refine_indices(op, loops)
    for result, pieces in zip(op.results, operands[inputs:], strict=True):
        result.set_type(_typed(result, flatten(pieces)))
        state.define(result, result)


_MEMOIZED = "linalg.memoized_indexing_maps"
"""A note that generalizing a named convolution leaves behind; it does not describe the rewritten operation."""


def _reached(value: ir.Value, m: ir.AffineMap, pieces: Pieces, loops: Pieces, before: ir.Operation) -> ir.Value:
    """The part of an operand that the loops reach: a window that does not move may read less than a whole dimension."""
    sizes = [math.prod(p) for p in loops]
    extents: list[int] = []
    for original, parts in zip(m.results, pieces, strict=True):
        expression = simplify(original, sizes)
        read = isinstance(expression, ir.AffineDimExpr) and sizes[expression.position] != math.prod(parts)
        extents += [sizes[expression.position]] if read and parts else parts
    if tuple(extents) == build.shape_of(value):
        return value
    return build.leading_slice(value, extents, ip=ir.InsertionPoint(before), loc=before.location)


def _first_loops(loops: Pieces) -> list[int]:
    """For each old loop the number of its first new loop."""
    starts = [0]
    for pieces in loops:
        starts.append(starts[-1] + len(pieces))
    return starts


def _refine_map(m: ir.AffineMap, pieces: Pieces, loops: Pieces) -> ir.AffineMap:
    starts = _first_loops(loops)
    get = ir.AffineExpr.get_dim
    sizes = [math.prod(p) for p in loops]
    # A loop with several pieces is in no compound expression, since those freeze their loops.
    renamed = [get(starts[d]) if loops[d] else ir.AffineExpr.get_constant(0) for d in range(len(loops))]
    renaming = ir.AffineMap.get(starts[-1], 0, renamed)
    results: list[ir.AffineExpr] = []
    for original, parts in zip(m.results, pieces, strict=True):
        expression = simplify(original, sizes)
        if isinstance(expression, ir.AffineDimExpr) and len(parts) == len(loops[expression.position]):
            results += [get(starts[expression.position] + n) for n in range(len(parts))]
        elif parts:
            results.append(expression.compose(renaming))
    return ir.AffineMap.get(starts[-1], 0, results)


def _refine_indices(op: ir.Operation, loops: Pieces) -> None:
    """`linalg.index` of a cut loop is put together from the indices of its pieces."""
    starts = _first_loops(loops)
    index = ir.IndexType.get()
    for inner in build.body_of(op):
        if inner.name != "linalg.index":
            continue
        loop = int(inner.attributes["dim"].value)
        ip = ir.InsertionPoint(inner)
        total: ir.Value | None = None
        for n, size in enumerate(loops[loop]):
            dim = {"dim": ir.IntegerAttr.get(ir.IntegerType.get_signless(64), starts[loop] + n)}
            part = ir.Operation.create("linalg.index", [index], [], dim, ip=ip, loc=inner.location).result
            total = part if total is None else _times_plus(total, size, part, inner)
        if total is None:
            total = build.constant(ir.IntegerAttr.get(index, 0), ip=ip, loc=inner.location)
        inner.results[0].replace_all_uses_with(total)
        inner.erase()


def _times_plus(value: ir.Value, size: int, part: ir.Value, before: ir.Operation) -> ir.Value:
    ip, loc = ir.InsertionPoint(before), before.location
    factor = build.constant(ir.IntegerAttr.get(value.type, size), ip=ip, loc=loc)
    scaled = ir.Operation.create("arith.muli", [value.type], [value, factor], ip=ip, loc=loc).result
    return ir.Operation.create("arith.addi", [value.type], [scaled, part], ip=ip, loc=loc).result


def _slice_lists(
    whole: Pieces, part: Pieces, sizes: Sequence[int], offsets: Sequence[int], shares: Sequence[int]
) -> list[Shape] | None:
    """Offsets, sizes and strides of a slice on cut dimensions, or None when some range is not a block of the pieces.

    Args:
        whole: pieces of the larger value's dimensions.
        part: pieces of the smaller value's dimensions.
        sizes: extent of each dimension of the smaller value.
        offsets: where the range begins in each dimension.
        shares: as how many shares each dimension of the larger value is stored: the range is taken from each of them.
    """
    starts: list[int] = []
    extents: list[int] = []
    for pieces, small, size, offset, count in zip(whole, part, sizes, offsets, shares, strict=True):
        own = size != math.prod(pieces)
        lead = _leading(pieces, count) if own else 0
        if lead is None or small[:lead] != pieces[:lead]:
            return None
        starts += [0] * lead
        extents += pieces[:lead]
        count = count if own else 1
        rest, left = pieces[lead:], small[lead:]
        block = block_of(rest, offset // count, size // count) if rest else (0, 1)
        if block is None:
            return None
        expected = (block[1], *rest[1:]) if block[1] > 1 else rest[1:]
        if expected != left:
            return None
        if rest:
            starts += [block[0], *(0 for _ in rest[1:])]
            extents += [block[1], *rest[1:]]
    return [tuple(starts), tuple(extents), (1,) * len(starts)]


def _leading(pieces: Sequence[int], count: int) -> int | None:
    """How many of the pieces, from the first, number the shares; None when no cut is there."""
    products = list(itertools.accumulate(pieces, operator.mul, initial=1))
    return products.index(count) if count in products else None


def _written(
    part: Pieces, whole: Pieces, sizes: Sequence[int], offsets: Sequence[int], shares: Sequence[int]
) -> tuple[Pieces, Pieces, list[Shape] | None]:
    """Pieces in which a slice can be written, of the smaller and the larger value, and its lists.

    The cuts that reshapes asked for, if they fit. Otherwise a range of shares is written with no other cuts, since the
    original order of elements exists no more; and any other range not at all.
    """
    lists = _slice_lists(whole, part, sizes, offsets, shares)
    if lists is not None or set(shares) <= {1}:
        return part, whole, lists
    few: Pieces = []
    many: Pieces = []
    for pieces, small, size, count in zip(whole, part, sizes, shares, strict=True):
        total = math.prod(pieces)
        lead = (count,) if count > 1 else ()
        own = () if size == count else (size // count,)
        few.append(small if size == total else lead + own)
        many.append(pieces if size == total else (*lead, total // count))
    return few, many, _slice_lists(many, few, sizes, offsets, shares)


def _set_slice(op: ir.Operation, lists: Sequence[Shape]) -> None:
    for name, values in zip(("offsets", "sizes", "strides"), lists, strict=True):
        op.attributes[f"static_{name}"] = ir.DenseI64ArrayAttr.get(values)


def _refine_extract_slice(state: Rewriter, op: ir.Operation) -> None:
    dims, result = state.dims, op.results[0]
    if op not in dims.ranges:
        _keep(state, op)
        return
    whole = dims.pieces(dims.operand(op, 0), False)
    part = dims.pieces(dims.nodes(result, False), False)
    shares = [dims.factors.shares(node) for node in dims.operand(op, 0)]
    part, whole, lists = _written(part, whole, build.shape_of(result), static(op, "offsets"), shares)
    if lists is None:
        _keep(state, op)
        return
    op.operands[0] = state.get(op.operands[0], flatten(whole), op)
    _set_slice(op, lists)
    result.set_type(_typed(result, flatten(part)))
    state.define(result, result)


def _refine_insert_slice(state: Rewriter, op: ir.Operation) -> None:
    dims, result = state.dims, op.results[0]
    if op not in dims.ranges:
        _keep(state, op)
        return
    whole = dims.pieces(dims.nodes(result, False), False)
    part = dims.pieces(dims.operand(op, 0), False)
    shares = [dims.factors.shares(node) for node in dims.nodes(result, False)]
    part, whole, lists = _written(part, whole, static(op, "sizes"), static(op, "offsets"), shares)
    if lists is None:
        _keep(state, op)
        return
    op.operands[0] = state.get(op.operands[0], flatten(part), op)
    op.operands[1] = state.get(op.operands[1], flatten(whole), op)
    _set_slice(op, lists)
    result.set_type(_typed(result, flatten(whole)))
    state.define(result, result)


def _refine_concat(state: Rewriter, op: ir.Operation) -> None:
    dims, result = state.dims, op.results[0]
    along = int(op.attributes["dim"].value)
    nodes = dims.nodes(result, False)
    shares = [dims.factors.shares(node) for node in nodes]
    whole = dims.pieces(nodes, False)
    sizes = [[dims.factors.size(node) for node in dims.operand(op, n)] for n in range(len(op.operands))]
    shapes = _concat_shapes(dims, op, along, whole, sizes, shares)
    if shapes is None and shares[along] > 1:
        whole[along] = (shares[along], math.prod(whole[along]) // shares[along])
        shapes = _concat_shapes(dims, op, along, whole, sizes, shares)
    if shapes is None:
        _keep(state, op)
        return
    for number, shape in enumerate(shapes):
        op.operands[number] = state.get(op.operands[number], shape, op)
    dim = sum(len(pieces) for pieces in whole[:along]) + (_leading(whole[along], shares[along]) or 0)
    op.attributes["dim"] = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), dim)
    result.set_type(_typed(result, flatten(whole)))
    state.define(result, result)


def _concat_shapes(
    dims: Dimensions, op: ir.Operation, along: int, whole: Pieces, sizes: Sequence[Sequence[int]], shares: Sequence[int]
) -> list[Shape] | None:
    """The shape of each operand of a concat whose result has these pieces; None where one is no block of them."""
    shapes: list[Shape] = []
    for number, offset in enumerate(concat_offsets([size[along] for size in sizes])):
        part = dims.pieces(dims.operand(op, number), False)
        offsets = [offset if d == along else 0 for d in range(len(whole))]
        _, many, lists = _written(part, whole, sizes[number], offsets, shares)
        if lists is None or many != whole:
            return None
        shapes.append(lists[1])
    return shapes


def _refine_pad(state: Rewriter, op: ir.Operation) -> None:
    dims, result = state.dims, op.results[0]
    source, padded = dims.pieces(dims.operand(op, 0), False), dims.pieces(dims.nodes(result, False), False)
    low, high = static(op, "low"), static(op, "high")
    touched = [bool(a or b) for a, b in zip(low, high, strict=True)]
    if len(op.operands) != 1 or any(t and not (a and b) for t, a, b in zip(touched, source, padded, strict=True)):
        _keep(state, op)
        return
    op.operands[0] = state.get(op.operands[0], flatten(source), op)
    for name, values in (("low", low), ("high", high)):
        spread = flatten([[value] * len(pieces) for value, pieces in zip(values, source, strict=True)])
        op.attributes[f"static_{name}"] = ir.DenseI64ArrayAttr.get(spread)
    block = op.regions[0].blocks[0]
    rank = len(flatten(source))
    for number in reversed(range(rank, len(block.arguments))):
        block.erase_argument(number)
    for _ in range(rank - len(block.arguments)):
        block.add_argument(ir.IndexType.get(), op.location)
    result.set_type(_typed(result, flatten(padded)))
    state.define(result, result)


def _refine_barrier(state: Rewriter, op: ir.Operation) -> None:
    result = op.results[0]
    shape = flatten(state.dims.pieces(state.dims.nodes(result, False), False))
    op.operands[0] = state.get(op.operands[0], shape, op)
    result.set_type(_typed(result, shape))
    state.define(result, result)


_REFINERS: dict[str, Callable[[Rewriter, ir.Operation], None]] = {
    "linalg.generic": _refine_generic,
    BARRIER: _refine_barrier,
    "linalg.fill": _drop,
    "tensor.empty": _drop,
    "tensor.collapse_shape": _refine_reshape,
    "tensor.expand_shape": _refine_reshape,
    "tensor.extract_slice": _refine_extract_slice,
    "tensor.insert_slice": _refine_insert_slice,
    "tensor.concat": _refine_concat,
    "tensor.pad": _refine_pad,
}
