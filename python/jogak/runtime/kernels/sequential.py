"""The last resort: reduction loops run one iteration after the other, vectorized over the parallel loops."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, fx

from jogak.errors import JogakError
from jogak.runtime.kernels import views
from jogak.runtime.kernels.emit import Emitter
from jogak.runtime.kernels.evaluate import Evaluator, Value
from jogak.runtime.kernels.generic import Generic


class Loop(torch.nn.Module):
    """Runs `body` for every point of the reduction loops, in order.

    Args:
        body: takes the operands at one point, the captured tensors, the point's coordinates and the accumulators;
            returns the new accumulators.
        loops: the reduction loops and their sizes.
    """

    def __init__(self, body: fx.GraphModule, loops: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.body = body
        self.loops = tuple(loops)

    def forward(
        self, operands: Sequence[Tensor], captures: Sequence[Tensor], accumulators: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        current = tuple(accumulators)
        for point in product(*(range(size) for _, size in self.loops)):
            place = {loop: index for (loop, _), index in zip(self.loops, point, strict=True)}
            here = [_at(operand, place) for operand in operands]
            coordinates = [torch.tensor(index) for index in point]
            result = self.body(*here, *captures, *coordinates, *current)
            current = result if isinstance(result, tuple) else (result,)
        return current


def _at(operand: Tensor, place: dict[int, int]) -> Tensor:
    for loop, index in place.items():
        if operand.shape[loop] > 1:
            operand = operand.narrow(loop, index, 1)
    return operand


def lower(op: Generic) -> list[Tensor]:
    """All results of an op.

    Raises:
        JogakError: a result has a dimension along a loop that another result reduces.
    """
    results = range(len(op.spec.region.yields))
    loops = sorted({loop for result in results for loop in op.reduced_loops(result)})
    for result in results:
        if views.loops_of(op.spec.maps[op.spec.inputs + result]) & set(loops):
            raise JogakError("the results of a linalg.generic reduce different loops, but depend on each other")
    operands = [k for k in range(op.spec.inputs) if op.spec.region.uses(k)]
    body = _body(op, operands, loops)
    initial = [_initial(op, result) for result in results]
    arguments = [op.region.tensor(k) for k in operands]
    loop = Loop(body, [(loop, op.spec.sizes[loop]) for loop in loops])
    final = op.emit.call_module("loop", loop, arguments, op.captures, initial)
    return [op.place(result, final[result]) for result in results]


def _shape(op: Generic, result: int) -> list[int]:
    used = views.loops_of(op.spec.maps[op.spec.inputs + result])
    return [size if loop in used else 1 for loop, size in enumerate(op.spec.sizes)]


def _initial(op: Generic, result: int) -> Tensor:
    operand = op.spec.inputs + result
    if op.spec.region.uses(operand):
        return op.region.tensor(operand).expand(_shape(op, result))
    element = op.spec.operands[operand].element
    return op.emit.full(_shape(op, result), "0" if element[0] == "i" else "0x0p+0", element)


def _body(op: Generic, operands: Sequence[int], loops: Sequence[int]) -> fx.GraphModule:
    """One iteration of the reduction loops as a kernel of its own."""
    spec, emit = op.spec, Emitter(op.emit.precision)
    sizes = [1 if loop in loops else size for loop, size in enumerate(spec.sizes)]
    arguments = {k: Value(spec.operands[k].element, emit.input(), loops=views.loops_of(spec.maps[k])) for k in operands}
    captures = [emit.input() for _ in spec.region.captures]
    coordinates = {loop: emit.input() for loop in loops}
    for result in range(len(spec.region.yields)):
        k = spec.inputs + result
        arguments[k] = Value(spec.operands[k].element, emit.input(), loops=views.loops_of(spec.maps[k]))

    def index(loop: int) -> Tensor:
        if loop in coordinates:
            return coordinates[loop].reshape([1] * len(sizes))
        return views.index_along(emit, loop, sizes)

    region = Evaluator(emit, spec.region, arguments, captures, sizes, index)
    results = [region.tensor(number).expand(_shape(op, r)) for r, number in enumerate(spec.region.yields)]
    return emit.finish(results, "Iteration")
