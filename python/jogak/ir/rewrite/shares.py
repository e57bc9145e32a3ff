"""Fused projections of unequal parts: which dimensions can be stored as shares, and as how many.

Where one weight makes queries, keys and values of different widths, no cut of its rows separates the three. But the
rows may be stored in another order: as `count` shares, each of which holds an equal portion of every part. Then the
shares are a dimension of their own that can be split, and each part is a range of the other dimension, the same one in
every share. All values that have the dimension (the weight, its bias, their gradients and optimizer state, the fused
product) take the same order, so that nothing is moved while the program runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from torch_mlir import ir

from jogak.ir.barrier import BARRIER
from jogak.ir.rewrite import build
from jogak.ir.rewrite.dimensions import Dimensions
from jogak.ir.rewrite.factors import Edge, Factors, Group, Node, Share, Window

SHARES = "jogak.shares"
"""The attribute of an argument that holds, for each dimension that the user knows, what a share has of each part."""


@dataclass(frozen=True)
class Shares:
    """A dimension that is stored as shares.

    Attributes:
        nodes: all nodes that are this dimension.
        count: number of shares.
        sizes: rows of each part in one share.
    """

    nodes: frozenset[Node]
    count: int
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class _Fused:
    """A dimension that windows take apart completely, and may be reordered."""

    nodes: frozenset[Node]
    windows: tuple[Window, ...]
    sizes: tuple[int, ...]


def store_as_shares(function: ir.Operation, dims: Dimensions, candidates: Iterable[Node]) -> list[Shares]:
    """Store those of the candidates as shares that can be; to be called before anything is cut by reshapes.

    Args:
        candidates: dimensions that slices take apart in unequal parts.
    """
    candidates = list(candidates)
    if not candidates:
        return []
    links = links_of(dims.factors)
    bound = _bound_nodes(function, dims)
    fused: dict[frozenset[Node], _Fused] = {}
    for node in candidates:
        nodes = _same(dims.factors, links, node)
        if nodes not in fused and not nodes & bound:
            found = _fused(dims.factors, links, nodes)
            if found is not None:
                fused[nodes] = found
    counts = _counts(dims, list(fused.values()))
    return [_store(dims.factors, each, count) for each, count in zip(fused.values(), counts, strict=True) if count > 1]


def links_of(factors: Factors) -> dict[Node, list[Edge]]:
    """The edges at each node."""
    links: dict[Node, list[Edge]] = {}
    for edge in factors.edges:
        for node in {factors.find(node) for node in edge.nodes}:
            links.setdefault(node, []).append(edge)
    return links


def _same(factors: Factors, links: dict[Node, list[Edge]], node: Node) -> frozenset[Node]:
    """The nodes that are the dimension `node` too: behind reshapes that leave it alone."""
    seen = {factors.find(node)}
    todo = list(seen)
    while todo:
        current = todo.pop()
        for edge in links.get(current, ()):
            if not isinstance(edge, Group):
                continue
            parts = {factors.find(part) for part in edge.parts if factors.size(part) == factors.size(edge.whole)}
            if len(parts) == 1:
                fresh = {factors.find(edge.whole), *parts} - seen
                seen |= fresh
                todo += fresh
    return frozenset(seen)


def _fused(factors: Factors, links: dict[Node, list[Edge]], nodes: frozenset[Node]) -> _Fused | None:
    """The parts of a dimension; None where something else than whole parts is taken of it, or it is cut or frozen."""
    size = factors.size(next(iter(nodes)))
    if any(factors.is_frozen(node) or factors.cuts(node) for node in nodes):
        return None
    windows: list[Window] = []
    for edge in {edge for node in nodes for edge in links.get(node, ())}:
        if isinstance(edge, Window) and factors.find(edge.whole) in nodes:
            windows.append(edge)
        elif not isinstance(edge, Group) or any(factors.size(node) not in (1, size) for node in edge.nodes):
            return None
    ranges = sorted({(edge.offset, factors.size(edge.part)) for edge in windows})
    sizes = tuple(extent for _, extent in ranges)
    offsets = [sum(sizes[:number]) for number in range(len(sizes))]
    if [offset for offset, _ in ranges] != offsets or sum(sizes) != size:
        return None
    return _Fused(nodes, tuple(windows), sizes)


def _bound_nodes(function: ir.Operation, dims: Dimensions) -> set[Node]:
    """Dimensions whose elements must stay in their order, since something outside or an operation counts them."""
    find = dims.factors.find
    state = state_arguments(function).keys() - shared_arguments(function)
    bound: set[Node] = set()
    for (value, _), nodes in dims.forms.items():
        owner = value.owner
        free = value.arg_number in state if isinstance(owner, ir.Block) else _keeps_order(dims, owner, 0)
        if not free or not all(_keeps_order(dims, use.owner.operation, use.operand_number) for use in value.uses):
            bound.update(map(find, nodes))
    for op, loops in dims.loops.items():
        for inner in build.body_of(op):
            if inner.name == "linalg.index":
                bound.add(find(loops[int(inner.attributes["dim"].value)]))
    return bound


def state_arguments(function: ir.Operation) -> dict[int, str]:
    """The arguments whose values are stored, and rearranged when they are loaded: number and name."""
    state: dict[int, str] = {}
    for number, own in enumerate(function.attributes.get("arg_attrs", [])):
        if "jogak.role" in own and own["jogak.role"].value in _STATE_ROLES:
            state[number] = own["jogak.name"].value if "jogak.name" in own else f"argument {number}"
    return state


def shared_arguments(function: ir.Operation) -> set[int]:
    """The arguments that are stored as shares already."""
    attributes = enumerate(function.attributes.get("arg_attrs", []))
    return {number for number, own in attributes if SHARES in own}


_STATE_ROLES = {"parameter", "optimizer_state", "buffer"}


def _keeps_order(dims: Dimensions, op: ir.Operation, operand: int) -> bool:
    """Whether an operation may see the dimensions of a value in any order that all its values share."""
    if op.name in ("tensor.extract_slice", "tensor.insert_slice"):
        return op in dims.ranges
    return op.name in _ANY_ORDER or (op.name == "func.return" and operand in dims.ties)


_ANY_ORDER = {
    "linalg.generic",
    "linalg.fill",
    "tensor.empty",
    "tensor.collapse_shape",
    "tensor.expand_shape",
    "tensor.concat",
    "tensor.pad",
    BARRIER,
}


def _counts(dims: Dimensions, fused: list[_Fused]) -> list[int]:
    """For each dimension how many shares there can be, such that no reshape takes one apart (heads stay whole)."""
    if not fused:
        return []
    windows: set[Edge] = {window for each in fused for window in each.windows}
    flat = [node for (_, flat), nodes in dims.forms.items() if flat for node in nodes]
    natural = dims.factors.without(windows, [*flat, *(node for each in fused for node in each.nodes)])
    natural.propagate()
    single = {natural.find(edge.whole) for edge in natural.edges if isinstance(edge, Group) and _is_one(natural, edge)}

    def heads(part: Node) -> int:
        return 1 if natural.find(part) in single else natural.pieces(part)[0]

    return [math.gcd(*(heads(window.part) for window in each.windows)) for each in fused]


def _is_one(factors: Factors, edge: Group) -> bool:
    """Whether a reshape says that a dimension is one head of some size."""
    return len(edge.parts) > 1 and factors.size(edge.parts[0]) == 1 and factors.size(edge.whole) > 1


def _store(factors: Factors, fused: _Fused, count: int) -> Shares:
    replaced = set(fused.windows)
    shares: list[Edge] = [Share(each.whole, each.part, each.offset, count) for each in fused.windows]
    factors.edges = [edge for edge in factors.edges if edge not in replaced] + shares
    for node in fused.nodes:
        factors.store_as_shares(node, count)
    return Shares(fused.nodes, count, tuple(size // count for size in fused.sizes))
