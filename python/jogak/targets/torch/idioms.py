"""Arithmetic that PyTorch has one vectorized function for.

PyTorch's selection by a mask, `torch.where`, is not vectorized on CPUs and mispredicts where the mask is random: on one
core of a server it takes 35 times as long as a rectifier, which was written with it.
"""

from __future__ import annotations

import operator
from math import prod
from typing import Any

import torch
from torch import fx

_THRESHOLD = torch.ops.aten.threshold_backward.default


def replace(graph: fx.Graph) -> None:
    """Write rectifiers, their gradients, larger ones of two and what a mask leaves of a tensor as PyTorch's.

    The larger one is NaN where either is, as in the model; selected by comparison it was so only for the second. What
    must not be less than zero, such as a variance, and is zero where it is NaN is `fmax`.

    Args:
        graph: of a kernel; `meta["is"]` of each node holds its shape and dtype.
    """
    for node in graph.find_nodes(op="call_function", target=torch.where):
        condition, chosen, other = node.args
        made = None
        with graph.inserting_before(node):
            if is_zero(other) and _is_compared(condition, chosen, operator.gt):
                made = graph.call_function(torch.relu, (chosen,))
            elif is_zero(chosen) and _is_compared(condition, other, operator.lt):
                made = graph.call_function(torch.fmax, (other, _zero(graph, node)))
            elif _is_larger(condition, chosen, other, node):
                made = graph.call_function(torch.maximum, (chosen, other))
            elif is_zero(chosen) and _is_gradient(condition, other, node):
                made = graph.call_function(_THRESHOLD, (other, condition.args[0], 0.0))
            elif is_zero(other) and _is_masked(condition, chosen, node):
                made = _kept(graph, chosen, condition, node)
            elif is_zero(chosen) and _is_masked(condition, other, node, smaller=True):
                kept = graph.call_function(torch.logical_not, (condition,))
                made = _kept(graph, other, kept, node)
        if made is not None:
            made.meta["is"] = node.meta["is"]
            node.replace_all_uses_with(made)
            graph.erase_node(node)
    graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output") or node.target is torch._assert)


def _kept(graph: fx.Graph, value: fx.Node, mask: fx.Node, result: fx.Node) -> fx.Node:
    floats = graph.call_method("to", (mask, result.meta["is"][1]))
    return graph.call_function(_THRESHOLD, (value, floats, 0.0))


def _zero(graph: fx.Graph, result: fx.Node) -> fx.Node:
    zero = graph.call_function(torch.full, ((), 0.0), {"dtype": result.meta["is"][1]})
    zero.meta["is"] = ((), result.meta["is"][1])
    return zero


def _is_compared(condition: Any, value: Any, compare: Any) -> bool:
    """Whether a mask is a comparison of a value with zero, or `value is no number`."""
    if not calls(condition, operator.or_) or not isinstance(value, fx.Node):
        return False
    compared, unordered = condition.args
    if not calls(compared, compare) or compared.args[0] is not value or not is_zero(compared.args[1]):
        return False
    if calls(unordered, torch.isnan):
        return unordered.args[0] is value
    return (
        calls(unordered, operator.or_)
        and all(calls(each, torch.isnan) for each in unordered.args)
        and unordered.args[0].args[0] is value
        and is_zero(unordered.args[1].args[0])
    )


def _is_gradient(condition: Any, gradient: Any, result: fx.Node) -> bool:
    """Whether a mask is `value <= 0`, and value and gradient have the form of the result."""
    if not calls(condition, operator.le) or not is_zero(condition.args[1]):
        return False
    forms = [each.meta["is"] for each in (condition.args[0], gradient) if isinstance(each, fx.Node)]
    return forms == [result.meta["is"]] * 2 and None not in result.meta["is"]


def _is_masked(condition: Any, value: Any, result: fx.Node, *, smaller: bool = False) -> bool:
    """Whether a value has the form of the result, which are floats, and a mask has it too, or is of a smaller one."""
    shape, dtype = result.meta["is"]
    if shape is None or not dtype.is_floating_point:
        return False
    if not isinstance(condition, fx.Node) or not isinstance(value, fx.Node) or condition.meta["is"][1] != torch.bool:
        return False
    if value.meta["is"] != (shape, dtype):
        return False
    return 2 * prod(condition.meta["is"][0]) <= prod(shape) or (condition.meta["is"][0] == shape and not smaller)


def _is_larger(condition: Any, chosen: Any, other: Any, result: fx.Node) -> bool:
    """Whether the first is chosen where it is larger than the second, and both have the form of the result."""
    if not calls(condition, operator.gt) or condition.args != (chosen, other):
        return False
    forms = [each.meta["is"] for each in (chosen, other) if isinstance(each, fx.Node)]
    return forms == [result.meta["is"]] * 2 and None not in result.meta["is"]


def calls(value: Any, target: Any) -> bool:
    """Whether a value is what a function makes."""
    return isinstance(value, fx.Node) and value.target is target


def is_zero(value: Any) -> bool:
    """Whether a value is zero everywhere: a number, or a constant tensor that is expanded."""
    while isinstance(value, fx.Node) and value.op == "call_method" and value.target in ("expand", "reshape"):
        value = value.args[0]
    if calls(value, torch.full):
        value = value.args[1]
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0
