"""Tensors that are zero but for one element along a dimension, which an index says: the classes of targets.

A mask compares the index with all positions, and what it leaves is summed, or added to something. In PyTorch that is a
pass over all positions for each step of it; the elements that are meant are gathered or scattered instead.
"""

from __future__ import annotations

import operator
from math import prod
from typing import Any, NamedTuple

import torch
from torch import fx

from jogak.targets.torch.idioms import calls, is_zero

_INTEGERS = (torch.int32, torch.int64)
_LEAST = 1 << 14
"""Elements of the smallest mask for which it matters: a call less is worth more."""


class _Choice(NamedTuple):
    """`where(number == positions along dim + offset, value, 0)` of a shape; `number` is the same along `dim`."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    dim: int
    number: fx.Node
    offset: Any
    value: Any

    @property
    def one(self) -> list[int]:
        """The shape of what is chosen."""
        return [1 if at == self.dim else size for at, size in enumerate(self.shape)]


class _Place(NamedTuple):
    """Where the element of a choice is: positions inside the dimension, and whether the index was inside."""

    positions: fx.Node
    inside: fx.Node


def replace(graph: fx.Graph) -> bool:
    """Write what a mask of one position leaves as gathers and scatters; whether there was any.

    Args:
        graph: of a kernel; `meta["is"]` of each node holds its shape and dtype, and has to be found anew afterwards.
    """
    found = False
    for writer in (_summed, _added, _scattered):
        for node in list(graph.nodes):
            with graph.inserting_before(node):
                made = writer(graph, node)
            if made is not None:
                made.meta["is"] = node.meta["is"]
                node.replace_all_uses_with(made)
                graph.erase_node(node)
                found = True
        graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output") or node.target is torch._assert)
    return found


def _summed(graph: fx.Graph, node: Any) -> fx.Node | None:
    """The sum of a choice along its dimension is what is chosen, where the index is inside."""
    choice = _read(node.args[0]) if calls(node, torch.sum) else None
    if choice is None or choice.dim not in node.kwargs.get("dim", ()) or not node.kwargs.get("keepdim"):
        return None
    chosen = _chosen(graph, choice, _place(graph, choice))
    others = {**node.kwargs, "dim": [each for each in node.kwargs["dim"] if each != choice.dim]}
    if others["dim"]:
        return graph.call_function(torch.sum, (chosen,), others)
    return graph.call_method("to", (chosen, node.meta["is"][1]))


def _added(graph: fx.Graph, node: Any) -> fx.Node | None:
    """A choice that is added to something changes one element of it."""
    if not (calls(node, operator.add) or calls(node, operator.sub)):
        return None
    for operand, other in (node.args, node.args[::-1]):
        choice = _read(operand)
        if choice is None or not isinstance(other, fx.Node) or other.meta["is"] != node.meta["is"]:
            continue
        place = _place(graph, choice)
        chosen = _chosen(graph, choice, place)
        if node.target is operator.sub and operand is node.args[0]:
            other = _negative(graph, other)
        elif node.target is operator.sub:
            chosen = graph.call_function(operator.neg, (chosen,))
        return graph.call_function(torch.scatter_add, (other, choice.dim, place.positions, chosen))
    return None


def _scattered(graph: fx.Graph, node: Any) -> fx.Node | None:
    choice = _read(node)
    if choice is None:
        return None
    place = _place(graph, choice)
    nothing = graph.call_function(torch.full, (choice.shape, 0.0), {"dtype": choice.dtype})
    return graph.call_method("scatter_", (nothing, choice.dim, place.positions, _chosen(graph, choice, place)))


def _negative(graph: fx.Graph, value: Any) -> fx.Node:
    """The negative of a value; of a product with something smaller, the product with the negative of that."""
    if calls(value, operator.mul) and len(value.users) == 1:
        for at, factor in enumerate(value.args):
            if isinstance(factor, fx.Node) and factor.meta["is"][0] != value.meta["is"][0]:
                negative = graph.call_function(operator.neg, (factor,))
                factors = (value.args[0], negative) if at else (negative, value.args[1])
                return _noted(graph.call_function(operator.mul, factors), value)
    return _noted(graph.call_function(operator.neg, (value,)), value)


def _noted(made: fx.Node, like: fx.Node) -> fx.Node:
    made.meta["is"] = like.meta["is"]
    return made


def _place(graph: fx.Graph, choice: _Choice) -> _Place:
    index = choice.number
    if choice.offset is not None:
        index = graph.call_function(operator.sub, (index, choice.offset))
    index = graph.call_method("to", (index, torch.int64))
    clamped = graph.call_method("clamp", (index, 0, choice.shape[choice.dim] - 1))
    inside = graph.call_function(operator.eq, (clamped, index))
    return _Place(graph.call_method("expand", (clamped, choice.one)), inside)


def _chosen(graph: fx.Graph, choice: _Choice, place: _Place) -> fx.Node:
    """The element that is chosen; zero where the index is outside."""
    value = choice.value
    if isinstance(value, fx.Node) and value.meta["is"][0] and _size(value, choice) != 1:
        whole = graph.call_method("expand", (value, choice.shape))
        value = graph.call_function(torch.gather, (whole, choice.dim, place.positions))
    chosen = graph.call_function(torch.where, (place.inside, value, 0.0))
    return graph.call_method("expand", (graph.call_method("to", (chosen, choice.dtype)), choice.one))


def _size(value: Any, choice: _Choice) -> int:
    """Elements of a value along the dimension of a choice."""
    shape = value.meta["is"][0]
    at = choice.dim - len(choice.shape) + len(shape)
    return int(shape[at]) if at >= 0 else 1


def _read(node: Any) -> _Choice | None:
    """A choice, where a node is one that is worth it."""
    if not calls(node, torch.where) or not is_zero(node.args[2]) or is_zero(node.args[1]):
        return None
    shape, dtype = node.meta.get("is", (None, None))
    if shape is None or prod(shape) < _LEAST or not calls(node.args[0], operator.eq):
        return None
    for index, positions in (node.args[0].args, node.args[0].args[::-1]):
        found = _positions(positions, shape)
        if found is None or not isinstance(index, fx.Node) or index.meta["is"][1] not in _INTEGERS:
            continue
        choice = _Choice(shape, dtype, found[0], index, found[1], node.args[1])
        if _size(index, choice) == 1:
            return choice
    return None


def _positions(node: Any, shape: tuple[int, ...]) -> tuple[int, Any] | None:
    """The dimension of a shape along which a node counts, and the element that it counts from, None for zero."""
    own, dtype = node.meta["is"] if isinstance(node, fx.Node) else (None, None)
    along = [at for at, size in enumerate(own or ()) if size != 1]
    if own is None or len(along) != 1 or dtype not in _INTEGERS:
        return None
    dim, offset = along[0] + len(shape) - len(own), None
    node = _bare(node)
    if calls(node, operator.add):
        first = calls(_bare(node.args[0]), torch.arange)
        node, offset = _bare(node.args[0 if first else 1]), node.args[1 if first else 0]
        if isinstance(offset, fx.Node) and prod(offset.meta["is"][0]) != 1:
            return None
    return (dim, offset) if calls(node, torch.arange) and node.args == (shape[dim],) else None


def _bare(node: Any) -> Any:
    while isinstance(node, fx.Node) and node.op == "call_method" and node.target in ("reshape", "to"):
        node = node.args[0]
    return node
