"""A structured op while its kernel is built."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from jogak.runtime.kernels import views
from jogak.runtime.kernels.emit import Emitter
from jogak.runtime.kernels.evaluate import Evaluator, Value, closure
from jogak.runtime.spec import LinalgSpec


class Generic:
    """Its operands as tensors, its region, and the way of its results back into their own shapes."""

    def __init__(self, emit: Emitter, spec: LinalgSpec) -> None:
        self.emit = emit
        self.spec = spec
        self.tensors = {operand: emit.input() for operand in spec.tensors()}
        self.captures = [emit.input() for _ in spec.region.captures]

    @cached_property
    def region(self) -> Evaluator:
        """The region with every operand in loop space."""
        arguments = {k: self.argument(k) for k in range(len(self.spec.operands)) if self.spec.region.uses(k)}
        return Evaluator(self.emit, self.spec.region, arguments, self.captures, self.spec.sizes)

    def argument(self, operand: int) -> Value:
        """What a block argument holds in every iteration."""
        spec = self.spec
        type_ = spec.operands[operand]
        splat = spec.splats[operand]
        if splat is not None:
            return Value(type_.element, constant=splat)
        map_ = spec.maps[operand]
        view = views.to_loops(self.emit, self.tensors[operand], map_, type_.shape, spec.sizes)
        return Value(type_.element, view, loops=views.loops_of(map_))

    def init(self, result: int) -> Tensor:
        """The initial tensor of a result, in its own shape."""
        operand = self.spec.inputs + result
        splat = self.spec.splats[operand]
        if splat is None:
            return self.tensors[operand]
        type_ = self.spec.operands[operand]
        return self.emit.full(type_.shape, splat, type_.element)

    def place(self, result: int, value: Tensor) -> Tensor:
        """A result in loop space as the tensor that its map describes."""
        operand = self.spec.inputs + result
        init = self.init(result) if self.spec.splats[operand] is not None or operand in self.tensors else None
        shape = self.spec.operands[operand].shape
        return views.from_loops(self.emit, value, self.spec.maps[operand], shape, self.spec.sizes, init)

    def reduced_loops(self, result: int) -> tuple[int, ...]:
        """The loops that a result's map does not have."""
        used = views.loops_of(self.spec.maps[self.spec.inputs + result])
        return tuple(loop for loop in range(len(self.spec.sizes)) if loop not in used)

    def accumulators(self, result: int) -> set[int]:
        """The output arguments that a result's value is computed from."""
        outputs = range(self.spec.inputs, len(self.spec.operands))
        return closure(self.spec.region, [self.spec.region.yields[result]]).intersection(outputs)
