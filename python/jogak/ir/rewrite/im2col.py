"""Sums of products over sliding windows as matrix products: what windows read is copied into a matrix (im2col).

The loops say what an op is, as for the simulator: those of data and result are rows, those of data and filter are
summed, those of filter and result are features, and those of all three are groups. So a convolution, the gradient of
its input, that of its weight and a strided 1x1 convolution are one case. The matrix has a
row for each window: measured, IREE is faster with it in front of the filter than with its transpose behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch_mlir import ir

from jogak.ir.affine import LinearExpr, linear_map
from jogak.ir.rewrite import build
from jogak.ir.rewrite.splats import is_splat, reshaped_splat

_LANES = 8
"""Results that IREE computes at once where neighbours in the result read neighbours in the data."""

Loops = tuple[int, ...]


@dataclass(frozen=True)
class Copy:
    """A tensor read in another order of loops.

    Attributes:
        loops: of the copy, outermost first.
        sizes: their iterations.
        moves: whether anything is copied; otherwise the tensor has that order already.
    """

    loops: Loops
    sizes: tuple[int, ...]
    moves: bool

    @property
    def elements(self) -> int:
        """Of the memory that it takes."""
        return prod(self.sizes) if self.moves else 0


@dataclass(frozen=True)
class Form:
    """A product over windows as a matrix product: data times filter.

    Attributes:
        data: which input is read through windows.
        groups: loops of the batch of matrix products.
        rows: loops of data and result.
        summed: loops of data and filter.
        features: loops of filter and result.
        matrix: what the windows read.
        filters: the other input.
        result: from the matrix product to the result.
    """

    data: int
    groups: Loops
    rows: Loops
    summed: Loops
    features: Loops
    matrix: Copy
    filters: Copy
    result: Copy


def find_form(op: ir.Operation) -> Form | None:
    """How an op becomes a matrix product; None where it is no product over windows, or is fast as it is."""
    if op.name != "linalg.generic" or len(op.operands) != 3 or not _is_product(op):
        return None
    maps = build.indexing_maps(op)
    linear = [linear_map(m) for m in maps]
    plain = [_loops(exprs) for exprs in linear]
    sizes = build.loop_sizes(op, maps)
    data = 0 if plain[0] is None else 1
    filters, result = plain[1 - data], plain[2]
    if plain[data] is not None or filters is None or result is None or None in linear[data] or 0 in sizes:
        return None
    read = [expr for expr in linear[data] if expr is not None]
    used = {loop for expr in read for loop, _ in expr.terms}
    if used | set(filters) | set(result) != set(range(len(sizes))) or _is_vectorized(read, result, sizes):
        return None
    made, held = set(result), set(filters)
    groups = tuple(loop for loop in result if loop in used & held)
    rows = tuple(loop for loop in result if loop in used - held)
    features = tuple(loop for loop in result if loop in held - used)
    summed = tuple(loop for loop in filters if loop in used - made)
    if len(groups) + len(rows) + len(features) != len(result) or len(groups) + len(features) + len(summed) != len(held):
        return None

    return Form(
        data, groups, rows, summed, features,
        matrix=_copy(read, groups + rows + summed, sizes),
        filters=_copy(_plain(filters), groups + summed + features, sizes),
        result=_copy(_plain(groups + rows + features), result, sizes),
    )  # fmt: skip


def copied_bytes(op: ir.Operation) -> int:
    """Bytes of the matrices that an op's matrix product takes beside its operands and result."""
    form = find_form(op)
    if form is None:
        return 0
    copies = [(form.data, form.matrix), (1 - form.data, form.filters), (2, form.result)]
    if not is_splat(op.operands[2]):
        copies.append((2, form.result))  # the initial value is turned to the product's order, too
    return sum(copy.elements * op.operands[k].type.element_type.width // 8 for k, copy in copies)


def _is_product(op: ir.Operation) -> bool:
    """Whether the body adds the product of both inputs, possibly widened, to the output."""
    body = build.body_of(op)
    names = [inner.name for inner in body if inner.name != "arith.extf"]
    if names != ["arith.mulf", "arith.addf", "linalg.yield"]:
        return False
    first, second, total = op.regions[0].blocks[0].arguments
    product, added, yielded = (inner for inner in body if inner.name != "arith.extf")
    factors = {_widened(value) for value in product.operands}
    return (
        factors == {first, second}
        and {*added.operands} == {product.results[0], total}
        and list(yielded.operands) == list(added.results)
    )


def _widened(value: ir.Value) -> ir.Value:
    """The value before a cast."""
    return value if isinstance(value, ir.BlockArgument) else value.owner.operands[0]


def _loops(exprs: Sequence[LinearExpr | None]) -> Loops | None:
    """The loops of a map whose dimensions are different plain loops; None for another map."""
    loops = [expr.loop for expr in exprs if expr is not None and expr.loop is not None]
    return tuple(loops) if len(loops) == len(exprs) == len(set(loops)) else None


def _plain(loops: Loops) -> list[LinearExpr]:
    return [LinearExpr(((loop, 1),)) for loop in loops]


def _is_vectorized(read: Sequence[LinearExpr], result: Loops, sizes: Sequence[int]) -> bool:
    """Whether IREE's own code for the loops is fast: many neighbours in the result read neighbours in the data."""
    terms = dict(read[-1].terms) if read else {}
    if not result or terms.get(result[-1]) != 1:
        return False
    return sizes[result[-1]] >= max(_LANES, *(1 + sizes[loop] for loop in terms if loop != result[-1]))


def _copy(read: Sequence[LinearExpr], loops: Loops, sizes: Sequence[int]) -> Copy:
    """Reading a tensor in the order of `loops`."""
    return Copy(loops, tuple(sizes[loop] for loop in loops), [expr.loop for expr in read] != list(loops))


def multiply_matrices(function: ir.Operation) -> None:
    """Rewrite every product over windows that `find_form` has a form for."""
    for op in build.top_level(function):
        form = find_form(op)
        if form is not None:
            _rewrite(op, form)


def _rewrite(op: ir.Operation, form: Form) -> None:
    ip, loc = ir.InsertionPoint(op), op.location
    maps, sizes = build.indexing_maps(op), build.loop_sizes(op, build.indexing_maps(op))
    batch = [prod(sizes[loop] for loop in form.groups)] if form.groups else []
    rows, depth, columns = (prod(sizes[loop] for loop in each) for each in (form.rows, form.summed, form.features))
    data, other = form.data, 1 - form.data
    matrix = _arranged(op.operands[data], maps[data], form.matrix, [*batch, rows, depth], ip, loc)
    filters = _arranged(op.operands[other], maps[other], form.filters, [*batch, depth, columns], ip, loc)
    shape, order = [*batch, rows, columns], form.groups + form.rows + form.features
    init = op.operands[2]
    if is_splat(init):
        start = reshaped_splat(init, shape, ip)
    else:
        turned = _copy(_plain(form.result.loops), order, sizes)
        start = _arranged(init, maps[2], turned, shape, ip, loc)
    product = _product(op, (matrix, filters), start, swapped=data == 1, ip=ip)
    value = build.reshape(product, tuple(sizes[loop] for loop in order), ip=ip, loc=loc)
    back = ir.AffineMap.get(len(maps[2].results), 0, [ir.AffineExpr.get_dim(form.result.loops.index(d)) for d in order])
    if form.result.moves:
        value = _copied(value, back, form.result.sizes, ip, loc)
    op.results[0].replace_all_uses_with(value)
    op.erase()


def _arranged(
    value: ir.Value, map_: ir.AffineMap, copy: Copy, shape: Sequence[int], ip: ir.InsertionPoint, loc: ir.Location
) -> ir.Value:
    """A tensor in the order of a copy, with dimensions merged to `shape`."""
    if copy.moves:
        number = {loop: at for at, loop in enumerate(copy.loops)}
        dims = [ir.AffineExpr.get_dim(number.get(loop, 0)) for loop in range(map_.n_dims)]
        renaming = ir.AffineMap.get(len(copy.loops), 0, dims)
        read = ir.AffineMap.get(len(copy.loops), 0, [expr.compose(renaming) for expr in map_.results])
        value = _copied(value, read, copy.sizes, ip, loc)
    return build.reshape(value, tuple(shape), ip=ip, loc=loc)


def _copied(
    value: ir.Value, read: ir.AffineMap, shape: Sequence[int], ip: ir.InsertionPoint, loc: ir.Location
) -> ir.Value:
    """`out[loops] = value[read(loops)]`."""
    init = build.empty(shape, value.type.element_type, ip=ip, loc=loc)
    maps = [read, ir.AffineMap.get_identity(len(shape))]
    op, block = build.generic([value], [init], maps, build.iterator_array(["parallel"] * len(shape)), ip=ip, loc=loc)
    ir.Operation.create("linalg.yield", [], [block.arguments[0]], ip=ir.InsertionPoint(block), loc=loc)
    return op.results[0]


def _product(
    op: ir.Operation, inputs: tuple[ir.Value, ir.Value], init: ir.Value, *, swapped: bool, ip: ir.InsertionPoint
) -> ir.Value:
    """A matrix product, or a batch of them, with the body of `op`; `swapped` where its second input comes first."""
    name = "linalg.batch_matmul" if len(init.type.shape) == 3 else "linalg.matmul"
    rank = len(init.type.shape)
    dims = [ir.AffineExpr.get_dim(number) for number in range(rank + 1)]
    batch, (row, column, depth) = dims[:-3], dims[-3:]
    read = [[*batch, row, depth], [*batch, depth, column], [*batch, row, column]]
    attributes = {
        "operandSegmentSizes": ir.DenseI32ArrayAttr.get([2, 1]),
        # The maps that it has anyway: IREE crashes where it transposes a product without them.
        "indexing_maps": build.map_array([ir.AffineMap.get(rank + 1, 0, each) for each in read]),
    }
    made = ir.Operation.create(name, [init.type], [*inputs, init], attributes, regions=1, ip=ip, loc=op.location)
    elements = [value.type.element_type for value in made.operands]
    block = made.regions[0].blocks.append(*elements, arg_locs=[op.location] * 3)
    first, second, total = block.arguments
    order = (second, first, total) if swapped else (first, second, total)
    new = dict(zip(op.regions[0].blocks[0].arguments, order, strict=True))
    for inner in build.body_of(op):
        copy = inner.clone(ip=ir.InsertionPoint(block))
        for place, value in enumerate(inner.operands):
            copy.operands[place] = new[value]
        new |= dict(zip(inner.results, copy.results, strict=True))
    build.keep_attributes(op, made)
    return made.results[0]
