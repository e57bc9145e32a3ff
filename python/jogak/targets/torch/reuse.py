"""Arithmetic of a kernel in the memory of its own intermediate results.

A pass over a large tensor costs what memory costs, and a new result costs its page faults on top. An intermediate that
one operation reads is therefore overwritten by it, and a product that is only added becomes part of the addition. An
average that moves, `a * 0.9 + b * 0.1`, is one pass as well.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import fx

Fresh = Callable[[fx.Node], bool]
_COMMUTE = {operator.add: "add_", operator.mul: "mul_"}
_FIRST = {operator.sub: "sub_", operator.truediv: "div_", operator.neg: "neg_", torch.scatter_add: "scatter_add_"}
_UNARY = {getattr(torch, name): f"{name}_" for name in ("exp", "log", "sqrt", "rsqrt", "tanh", "erf", "sigmoid", "neg")}


def overwrite(graph: fx.Graph, is_fresh: Fresh) -> None:
    """Change arithmetic to its in-place form where it may be.

    Args:
        graph: of a kernel; `meta["is"]` of each node holds its shape and dtype.
        is_fresh: whether a node's memory may be overwritten: it is surely new, or was given for that.
    """
    for node in list(graph.nodes):
        if node.op != "call_function" or node.kwargs:
            continue
        method = _COMMUTE.get(node.target) or _FIRST.get(node.target) or _UNARY.get(node.target)
        target = _target(node, is_fresh) if method else None
        if method is None or target is None:
            continue
        others = list(node.args)
        others.remove(target)
        with graph.inserting_before(node):
            made = _average(graph, target, others[0]) if method == "add_" else None
            if made is None and method in ("add_", "sub_"):
                made = _accumulate(graph, target, others[0], method)
            made = made or graph.call_method(method, (target, *others))
        made.meta["is"] = node.meta["is"]
        node.replace_all_uses_with(made)
        graph.erase_node(node)
    graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output") or node.target is torch._assert)


def _target(node: fx.Node, is_fresh: Fresh) -> fx.Node | None:
    """The operand that the result may overwrite: new memory of the same form, which nothing else reads."""
    candidates = node.args if node.target in _COMMUTE else node.args[:1]
    for operand in candidates:
        if not isinstance(operand, fx.Node) or len(operand.users) != 1 or list(node.args).count(operand) != 1:
            continue
        if is_fresh(operand) and None not in node.meta["is"] and operand.meta["is"] == node.meta["is"]:
            return operand
    return None


def _average(graph: fx.Graph, target: fx.Node, added: Any) -> fx.Node | None:
    """`a * (1 - b) + c * b` as `lerp`, where the numbers round to that; None where it is something else."""
    kept, taken = _product(target, target), _product(added, target)
    if kept is None or taken is None or not isinstance(kept[1], float) or not isinstance(taken[1], float):
        return None
    rounded = torch.tensor(1.0 - taken[1], dtype=target.meta["is"][1]).item()
    values = [kept[0], taken[0]]
    if _product(taken[0], target) is not None:
        return None  # added as a product, it needs no memory
    if not 0.0 < taken[1] < 1.0 or rounded != kept[1] or any(each.meta["is"] != target.meta["is"] for each in values):
        return None
    if target.op == "call_method":
        return graph.call_method("lerp_", (*values, taken[1]))
    return graph.call_function(torch.lerp, (*values, taken[1]))


def _accumulate(graph: fx.Graph, target: fx.Node, added: Any, method: str) -> fx.Node | None:
    """`target += a * 0.1`, `+= a * b * 0.1` and `-=` in one pass each; None where it is no such product.

    The number may be a tensor of one element.
    """
    scaled = _product(added, target)
    if scaled is None:
        return None
    factor, scale = scaled
    if isinstance(scale, fx.Node) and prod(scale.meta["is"][0]) == 1 and factor.meta["is"] == target.meta["is"]:
        return graph.call_method("addcmul_", (target, factor, scale), {"value": 1.0 if method == "add_" else -1.0})
    if not isinstance(scale, float):
        return None
    both = _product(factor, target)
    if method == "add_" and both is not None and all(isinstance(each, fx.Node) for each in both):
        return graph.call_method("addcmul_", (target, *both), {"value": scale})
    return graph.call_method(method, (target, factor), {"alpha": scale})


def _product(value: Any, like: fx.Node) -> tuple[Any, Any] | None:
    """The factors of a product that is read once, of the type of `like`."""
    if not isinstance(value, fx.Node) or value.target not in (operator.mul, "mul_") or len(value.users) != 1:
        return None
    factors = (value.args[0], value.args[1])
    types = {each.meta["is"][1] for each in factors if isinstance(each, fx.Node)}
    return factors if types == {like.meta["is"][1]} else None
