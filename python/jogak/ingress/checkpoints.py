"""Regions under `torch.utils.checkpoint`: their forward pass is done again in the backward pass, here as in PyTorch.

PyTorch repeats a region while gradients are computed. The trace sees the ops of both runs, which only differ in when
they are done; what reads the same would be merged again by the first CSE. So a region's second run reads everything
from outside behind an optimization barrier. torch-mlir has none: a region is lowered with arguments of its own, for
which the program returns the values, and afterwards each pair becomes a barrier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import checkpoint
from torch_mlir import ir
from torch_mlir.dialects import func

from jogak.ingress.places import place_of, put_place
from jogak.ir.barrier import barrier
from jogak.ir.module import main_function

REGION = "jogak.region"
"""Key of a traced node's annotations: the number of the region whose second run it belongs to."""

_PLAIN, _REENTRANT = "_checkpoint_without_reentrant_generator", "CheckpointFunction"
"""What `checkpoint` looks up in its module for its two ways."""

Again = Callable[[], AbstractContextManager[Any]]


@contextmanager
def repeating(start: Callable[[], Again]) -> Iterator[None]:
    """Follow the regions that start inside the block.

    Those that PyTorch would repeat within an autograd function of their own (`use_reentrant=True`) are repeated like
    the others, which gives the same gradients.

    Args:
        start: called as a region starts; returns what makes the context of its second run, which comes after the block.
    """
    plain, reentrant = checkpoint._checkpoint_without_reentrant_generator, checkpoint.CheckpointFunction

    def region(function: Callable[..., Any], *options: Any, **kwargs: Any) -> Any:
        again = start()

        def second(*args: Any, **kwargs: Any) -> Any:
            with again():
                return function(*args, **kwargs)

        return plain(second, *options, **kwargs)

    space = vars(checkpoint)
    space |= {_PLAIN: region, _REENTRANT: _Reentrant}
    try:
        yield
    finally:
        space |= {_PLAIN: plain, _REENTRANT: reentrant}


class _Reentrant:
    """In the place of PyTorch's autograd function."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        if torch.is_grad_enabled() and not any(isinstance(each, Tensor) and each.requires_grad for each in args):
            with torch.no_grad():  # as there: without a gradient of an input its parameters get none either
                return function(*args)
        return checkpoint.checkpoint(function, *args, use_reentrant=False, preserve_rng_state=preserve)


def region_of(node: fx.Node) -> int | None:
    """The region to whose second run a traced node belongs."""
    number: int | None = node.meta.get("custom", {}).get(REGION)
    return number


def cut_regions(graph: fx.Graph) -> int:
    """Let second runs read from arguments of their own, behind all others, for which the graph returns the values.

    Returns:
        How many there are.
    """
    own: dict[tuple[int, fx.Node], fx.Node] = {}
    last = graph.find_nodes(op="placeholder")[-1:]
    for node in list(graph.nodes):
        region = region_of(node)
        if region is None:
            continue
        for value in node.all_input_nodes:
            if not isinstance(value.meta.get("val"), Tensor) or region_of(value) == region or _is_made(value):
                continue
            if (region, value) not in own:
                with graph.inserting_after(last[-1]):
                    last.append(graph.placeholder(f"again_{len(own)}"))
                last[-1].meta["val"] = value.meta["val"]
                put_place(last[-1], place_of(node))
                own[region, value] = last[-1]
            node.replace_input_with(value, own[region, value])
    output = graph.output_node()
    results: Any = output.args[0]
    output.args = ((*results, *(value for _, value in own)),)
    return len(own)


def _is_made(node: fx.Node) -> bool:
    """Whether a node makes its value of nothing, a mask or positions: that is the same value, however often."""
    return node.op == "call_function" and not node.all_input_nodes


def join_regions(module: ir.Module, count: int) -> None:
    """Put a barrier in the place of each of the last arguments of `@main`, and drop the result that it stands for."""
    if count:
        with module.context:
            _join(main_function(module).operation, count)


def _join(function: ir.Operation, count: int) -> None:
    block = function.regions[0].blocks[0]
    operations = [view.operation for view in block.operations]
    order = {op: number for number, op in enumerate(operations)}
    *_, terminator = operations
    kept, first = len(terminator.operands) - count, len(block.arguments) - count
    for number in range(count):
        argument = block.arguments[first + number]
        users = [order[op] for op in (_outermost(use.owner, function) for use in argument.uses) if op != terminator]
        user = operations[min(users, default=-1)]
        # Read here and not before: one region can read what another one reads.
        value = terminator.operands[kept + number]
        argument.replace_all_uses_with(barrier(value, ir.InsertionPoint(user), user.location) if users else value)
    results = list(terminator.operands)[:kept]
    func.ReturnOp(results, ip=ir.InsertionPoint(terminator), loc=terminator.location)
    terminator.erase()
    for number in reversed(range(first, first + count)):
        block.erase_argument(number)
    kind = ir.FunctionType.get([each.type for each in block.arguments], [value.type for value in results])
    function.attributes["function_type"] = ir.TypeAttr.get(kind)
    function.verify()


def _outermost(op: Any, function: ir.Operation) -> ir.Operation:
    """The op of the function's own block that an op is, or is inside of."""
    inner: ir.Operation = op.operation
    while inner.parent != function:
        inner = inner.parent.operation
    return inner
