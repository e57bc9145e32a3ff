"""Finds fused projections: parameters whose dimension is several equal pieces that the program takes apart."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from torch_mlir import ir

from jogak.ir.rewrite import build
from jogak.ir.rewrite.dimensions import Dimensions, is_full_rank, static
from jogak.ir.rewrite.factors import Edge, Factors, Group, Node
from jogak.ir.rewrite.shares import SHARES, Shares, links_of, shared_arguments, state_arguments, store_as_shares

LOGICAL_SHAPE = "jogak.logical_shape"
"""The attribute of an argument that holds the shape which the user knows it by."""


@dataclass(frozen=True)
class Projection:
    """A cut that takes a parameter's dimension apart.

    Attributes:
        node: the dimension of the parameter, in its flat form.
        at: size of a piece.
        slices: an operation that takes a piece, for messages.
    """

    node: Node
    at: int
    slices: ir.Operation


@dataclass(frozen=True)
class Uneven:
    """A dimension that is taken apart in pieces of different sizes, which no cut can describe.

    Attributes:
        node: the sliced dimension.
        argument: number of a parameter that has it.
        name: of the parameter.
        sizes: of the pieces.
        slices: an operation that takes a piece, for messages.
    """

    node: Node
    argument: int
    name: str
    sizes: tuple[int, ...]
    slices: ir.Operation


def find_projections(function: ir.Operation, dims: Dimensions) -> tuple[list[Projection], list[Uneven]]:
    """All the fused projections of a function, and those dimensions of parameters that are taken apart unevenly."""
    owners = _state_nodes(function, dims)
    links = links_of(dims.factors)
    found: list[Projection] = []
    uneven: list[Uneven] = []
    for node, ranges, op in _sliced_dimensions(function, dims):
        size = dims.factors.size(node)
        extents = tuple(extent for _, extent in ranges)
        whole = sum(extents) == size and [offset for offset, _ in ranges] == _offsets(extents)
        if not whole or len(ranges) < 2:
            continue
        reached = _reach(dims.factors, links, node, extents[0] if len(set(extents)) == 1 else 0)
        flat = [(target, at) for target, at in reached if target in owners]
        if len(set(extents)) == 1:
            found += [Projection(target, at, op) for target, at in flat if at > 1]
        elif flat:
            uneven.append(Uneven(node, *owners[flat[0][0]], extents, op))
    return found, uneven


def _offsets(extents: tuple[int, ...]) -> list[int]:
    return [sum(extents[:n]) for n in range(len(extents))]


def _state_nodes(function: ir.Operation, dims: Dimensions) -> dict[Node, tuple[int, str]]:
    """The flat dimensions of state arguments, with number and name of one of them; none that an input shares."""
    state: dict[Node, tuple[int, str]] = {}
    others: set[Node] = set()
    held = state_arguments(function)
    for argument in build.entry_block(function).arguments:
        if not build.is_tensor(argument):
            continue
        nodes = [dims.factors.find(node) for node in dims.nodes(argument, True)]
        if argument.arg_number in held:
            state = dict.fromkeys(nodes, (argument.arg_number, held[argument.arg_number])) | state
        else:
            others.update(nodes)
    return {node: name for node, name in state.items() if node not in others}


def _sliced_dimensions(
    function: ir.Operation, dims: Dimensions
) -> Iterator[tuple[Node, list[tuple[int, int]], ir.Operation]]:
    """Dimensions of values that slices take apart: node, sorted ranges (offset, extent), one of the slices."""
    ranges: dict[tuple[ir.Value, int], dict[tuple[int, int], ir.Operation]] = {}
    for op in build.top_level(function):
        if op.name != "tensor.extract_slice" or not is_full_rank(op):
            continue
        source = op.operands[0]
        bounds = zip(static(op, "offsets"), static(op, "sizes"), build.shape_of(source), strict=True)
        for d, (offset, extent, size) in enumerate(bounds):
            if extent != size:
                ranges.setdefault((source, d), {})[offset, extent] = op
    for (source, d), taken in ranges.items():
        yield dims.nodes(source, False)[d], sorted(taken), next(iter(taken.values()))


def _reach(factors: Factors, links: dict[Node, list[Edge]], node: Node, at: int) -> list[tuple[Node, int]]:
    """Where a cut of `node` into major x `at` is the same cut: through reshapes that leave the major part in front."""
    start = (factors.find(node), at)
    seen = {start}
    todo = deque([start])
    while todo:
        current, cut = todo.popleft()
        for edge in links.get(current, ()):
            if not isinstance(edge, Group):
                continue
            step = _through(factors, edge, current, cut)
            if step is not None and step not in seen:
                seen.add(step)
                todo.append(step)
    return list(seen)


def _through(factors: Factors, edge: Group, node: Node, at: int) -> tuple[Node, int] | None:
    """The other side of a reshape, and the cut as it is there; None when the major part is another one."""
    parts = [part for part in edge.parts if factors.size(part) > 1]
    if not parts:
        return None
    major = factors.find(parts[0])
    stride = factors.size(edge.whole) // factors.size(major)
    if node == major:
        return factors.find(edge.whole), at * stride
    if node == factors.find(edge.whole) and at % stride == 0:
        return major, at // stride
    return None


def expose(function: ir.Operation, dims: Dimensions) -> list[Uneven]:
    """Cut the parameters' dimensions before anything else is cut, and note their original shapes on the arguments.

    Returns:
        Those dimensions that are taken apart unevenly and have to stay as they are.
    """
    found, uneven = find_projections(function, dims)
    for projection in found:
        dims.factors.cut(projection.node, projection.at)
    shares = store_as_shares(function, dims, [case.node for case in uneven])
    if found or shares:
        _note_shapes(function, dims, shares)
    settled = shared_arguments(function)
    return [case for case in uneven if dims.factors.shares(case.node) == 1 and case.argument not in settled]


def _note_shapes(function: ir.Operation, dims: Dimensions, shares: list[Shares]) -> None:
    sizes = {node: each.sizes for each in shares for node in each.nodes}
    attributes = list(function.attributes["arg_attrs"])
    for number, argument in enumerate(build.entry_block(function).arguments):
        if not build.is_tensor(argument):
            continue
        nodes = [dims.factors.find(node) for node in dims.nodes(argument, True)]
        if any(dims.factors.cuts(node) for node in nodes):
            noted: dict[str, ir.Attribute] = {LOGICAL_SHAPE: ir.DenseI64ArrayAttr.get(build.shape_of(argument))}
            if any(node in sizes for node in nodes):
                parts = [ir.DenseI64ArrayAttr.get(sizes.get(node, ())) for node in nodes]
                noted[SHARES] = ir.ArrayAttr.get(parts)
            own = {named: attributes[number][named] for named in _names(attributes[number])}
            attributes[number] = ir.DictAttr.get(noted | own)
    function.attributes["arg_attrs"] = ir.ArrayAttr.get(attributes)


def _names(attributes: ir.DictAttr) -> list[str]:
    return [attributes[n].name for n in range(len(attributes))]
