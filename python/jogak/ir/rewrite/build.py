"""Small things every rewrite needs: walking, reading shapes, and building reshapes, fills and empties."""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Iterator, Sequence

from torch_mlir import ir

Shape = tuple[int, ...]


def functions(module: ir.Module) -> Iterator[ir.Operation]:
    """The functions of `module` that have a body."""
    for op in module.body.operations:
        if op.operation.name == "func.func" and op.operation.regions[0].blocks:
            yield op.operation


def entry_block(function: ir.Operation) -> ir.Block:
    """The only block of a function in our form."""
    return function.regions[0].blocks[0]


def top_level(function: ir.Operation) -> list[ir.Operation]:
    """The operations of the function's block, in order; a list, so that the block may change while it is walked."""
    return [op.operation for op in entry_block(function).operations]


def body_of(op: ir.Operation) -> list[ir.Operation]:
    """The operations in the only block of `op`'s first region."""
    return [inner.operation for inner in op.regions[0].blocks[0].operations]


def is_tensor(value: ir.Value) -> bool:
    """Whether `value` is a ranked tensor."""
    return isinstance(value.type, ir.RankedTensorType)


def shape_of(value: ir.Value) -> Shape:
    """The static shape of a ranked tensor."""
    return tuple(value.type.shape)


def input_count(op: ir.Operation) -> int:
    """How many of a linalg op's operands are inputs; the rest are its inits."""
    return int(op.attributes["operandSegmentSizes"][0])


def indexing_maps(op: ir.Operation) -> list[ir.AffineMap]:
    """The indexing maps of a linalg op, inputs first, then inits."""
    return [attribute.value for attribute in op.attributes["indexing_maps"]]


def iterators(op: ir.Operation) -> tuple[str, ...]:
    """`parallel`, `reduction` or `window` for each loop of a linalg op."""
    return _iterator_names(str(op.attributes["iterator_types"]))


@functools.lru_cache(maxsize=256)
def _iterator_names(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"iterator_type<(\w+)>", text))


def is_parallel(op: ir.Operation) -> bool:
    """Whether all loops of a linalg op are parallel."""
    return set(iterators(op)) <= {"parallel"}


def iterator_array(kinds: Sequence[str]) -> ir.Attribute:
    """The `iterator_types` attribute for loops of these kinds."""
    return ir.ArrayAttr.get([ir.Attribute.parse(f"#linalg.iterator_type<{kind}>") for kind in kinds])


def map_array(maps: Sequence[ir.AffineMap]) -> ir.Attribute:
    """The `indexing_maps` attribute."""
    return ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in maps])


def loop_sizes(op: ir.Operation, maps: Sequence[ir.AffineMap]) -> list[int]:
    """The number of iterations of each loop of a linalg op, read off the operand dimensions that are pure loops."""
    sizes = [0] * (maps[0].n_dims if maps else 0)
    for operand, m in zip(op.operands, maps, strict=True):
        if not m.results:
            continue
        for extent, expression in zip(shape_of(operand), m.results, strict=True):
            if isinstance(expression, ir.AffineDimExpr):
                sizes[expression.position] = extent
    return sizes


def scalar_constant(value: ir.Value) -> ir.Attribute | None:
    """The attribute of the scalar `arith.constant` that defines `value`, or None."""
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.name != "arith.constant":
        return None
    attribute = owner.attributes["value"]
    return attribute if isinstance(attribute, ir.FloatAttr | ir.IntegerAttr) else None


def constant(value: ir.Attribute, *, ip: ir.InsertionPoint, loc: ir.Location) -> ir.Value:
    """A new `arith.constant`."""
    return ir.Operation.create("arith.constant", [value.type], [], {"value": value}, ip=ip, loc=loc).result


def empty(shape: Sequence[int], element: ir.Type, *, ip: ir.InsertionPoint, loc: ir.Location) -> ir.Value:
    """A new `tensor.empty`."""
    kind = ir.RankedTensorType.get(shape, element)
    return ir.Operation.create("tensor.empty", [kind], [], ip=ip, loc=loc).result


def fill(scalar: ir.Value, shape: Sequence[int], *, ip: ir.InsertionPoint, loc: ir.Location) -> ir.Value:
    """A new `linalg.fill` of a new `tensor.empty`."""
    init = empty(shape, scalar.type, ip=ip, loc=loc)
    segments = ir.DenseI32ArrayAttr.get([1, 1])
    op = ir.Operation.create(
        "linalg.fill", [init.type], [scalar, init], {"operandSegmentSizes": segments}, regions=1, ip=ip, loc=loc
    )
    block = op.regions[0].blocks.append(scalar.type, scalar.type, arg_locs=[loc, loc])
    ir.Operation.create("linalg.yield", [], [block.arguments[0]], ip=ir.InsertionPoint(block), loc=loc)
    return op.result


def generic(
    inputs: Sequence[ir.Value],
    inits: Sequence[ir.Value],
    maps: Sequence[ir.AffineMap],
    kinds: ir.Attribute,
    *,
    ip: ir.InsertionPoint,
    loc: ir.Location,
) -> tuple[ir.Operation, ir.Block]:
    """A new `linalg.generic` with an empty body; `kinds` is its `iterator_types`."""
    attributes = {
        "indexing_maps": map_array(maps),
        "iterator_types": kinds,
        "operandSegmentSizes": ir.DenseI32ArrayAttr.get([len(inputs), len(inits)]),
    }
    types = [init.type for init in inits]
    op = ir.Operation.create("linalg.generic", types, [*inputs, *inits], attributes, regions=1, ip=ip, loc=loc)
    elements = [operand.type.element_type for operand in op.operands]
    return op, op.regions[0].blocks.append(*elements, arg_locs=[loc] * len(elements))


def drop_unused_inputs(op: ir.Operation) -> ir.Operation:
    """Remove dead operations from the body of a generic, then inputs that nothing in it reads; return what replaces it.

    An input stays if only its shape says how far a loop runs.
    """
    block = op.regions[0].blocks[0]
    for inner in reversed(body_of(op)[:-1]):
        if all(not is_used(result) for result in inner.results):
            inner.erase()
    inputs = input_count(op)
    maps = indexing_maps(op)
    unused = {n for n in range(inputs) if not is_used(block.arguments[n])}
    kept = [n for n in range(len(maps)) if n not in unused]
    loops = {e.position for n in kept for e in maps[n].results if isinstance(e, ir.AffineDimExpr)}
    if not unused or len(loops) < maps[0].n_dims:
        return op
    attributes = {name: op.attributes[name] for name in op.attributes}
    attributes["indexing_maps"] = map_array([maps[n] for n in kept])
    attributes["operandSegmentSizes"] = ir.DenseI32ArrayAttr.get([inputs - len(unused), len(maps) - inputs])
    types = [result.type for result in op.results]
    operands = [op.operands[n] for n in kept]
    ip = ir.InsertionPoint(op)
    new = ir.Operation.create("linalg.generic", types, operands, attributes, regions=1, ip=ip, loc=op.location)
    for n in sorted(unused, reverse=True):
        block.erase_argument(n)
    block.append_to(new.regions[0])
    for old, result in zip(op.results, new.results, strict=True):
        old.replace_all_uses_with(result)
    op.erase()
    return new


def is_used(value: ir.Value) -> bool:
    """Whether anything uses `value`."""
    return next(iter(value.uses), None) is not None


def leading_slice(value: ir.Value, extents: Sequence[int], *, ip: ir.InsertionPoint, loc: ir.Location) -> ir.Value:
    """The first `extents` elements of each dimension of `value`."""
    kind = ir.RankedTensorType.get(extents, value.type.element_type)
    lists = {"offsets": [0] * len(extents), "sizes": extents, "strides": [1] * len(extents)}
    attributes = {f"static_{name}": ir.DenseI64ArrayAttr.get(values) for name, values in lists.items()}
    attributes["operandSegmentSizes"] = ir.DenseI32ArrayAttr.get([1, 0, 0, 0])
    return ir.Operation.create("tensor.extract_slice", [kind], [value], attributes, ip=ip, loc=loc).result


def keep_attributes(old: ir.Operation, new: ir.Operation) -> None:
    """Copy the discardable attributes of one generic to another."""
    for name in old.attributes:
        if name not in _GENERIC_ATTRIBUTES:
            new.attributes[name] = old.attributes[name]


_GENERIC_ATTRIBUTES = {"indexing_maps", "iterator_types", "operandSegmentSizes", "linalg.memoized_indexing_maps"}


def regroup(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The finest pairing of the dimensions of two shapes of equal volume: (dimensions of `old`, dimensions of `new`).

    Unit dimensions join the group before them, or the first one.
    """
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        left: list[int] = []
        right: list[int] = []
        while (a := math.prod(old[d] for d in left)) != (b := math.prod(new[d] for d in right)) or not (left and right):
            if (a <= b and i < len(old)) or j == len(new):
                left.append(i)
                i += 1
            else:
                right.append(j)
                j += 1
        while i < len(old) and old[i] == 1:
            left.append(i)
            i += 1
        while j < len(new) and new[j] == 1:
            right.append(j)
            j += 1
        groups.append((left, right))
    return groups


def _reassociation(groups: Sequence[Sequence[int]]) -> ir.Attribute:
    i64 = ir.IntegerType.get_signless(64)
    return ir.ArrayAttr.get([ir.ArrayAttr.get([ir.IntegerAttr.get(i64, d) for d in group]) for group in groups])


def _collapse(value: ir.Value, groups: Sequence[Sequence[int]], ip: ir.InsertionPoint, loc: ir.Location) -> ir.Value:
    shape = shape_of(value)
    kind = ir.RankedTensorType.get([math.prod(shape[d] for d in group) for group in groups], value.type.element_type)
    attributes = {"reassociation": _reassociation(groups)}
    return ir.Operation.create("tensor.collapse_shape", [kind], [value], attributes, ip=ip, loc=loc).result


def _expand(
    value: ir.Value, groups: Sequence[Sequence[int]], shape: Sequence[int], ip: ir.InsertionPoint, loc: ir.Location
) -> ir.Value:
    kind = ir.RankedTensorType.get(shape, value.type.element_type)
    attributes = {"reassociation": _reassociation(groups), "static_output_shape": ir.DenseI64ArrayAttr.get(shape)}
    return ir.Operation.create("tensor.expand_shape", [kind], [value], attributes, ip=ip, loc=loc).result


def reshape(value: ir.Value, shape: Shape, *, ip: ir.InsertionPoint, loc: ir.Location) -> ir.Value:
    """`value` in another shape of the same volume, row-major: nothing, a collapse, an expansion, or both."""
    old = shape_of(value)
    if old == shape:
        return value
    if not old or not shape:
        return _expand(value, [], shape, ip, loc) if shape else _collapse(value, [], ip, loc)
    groups = regroup(old, shape)
    if all(len(right) == 1 for _, right in groups):
        return _collapse(value, [left for left, _ in groups], ip, loc)
    if any(len(left) > 1 for left, _ in groups):
        value = _collapse(value, [left for left, _ in groups], ip, loc)
    return _expand(value, [right for _, right in groups], shape, ip, loc)


def flatten(lists: Sequence[Sequence[int]]) -> Shape:
    """All the numbers in order."""
    return tuple(itertools.chain.from_iterable(lists))
