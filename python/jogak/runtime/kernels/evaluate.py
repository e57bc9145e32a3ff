"""Evaluating a region for all iterations at once: every scalar of the region is a tensor in loop space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from jogak.errors import JogakError
from jogak.runtime.kernels import scalar, views
from jogak.runtime.kernels.emit import Emitter
from jogak.runtime.spec import Region, RegionOp, constant_text, constant_value
from jogak.runtime.types import TensorType


class Value(NamedTuple):
    """A scalar of the region: a tensor in loop space and the loops that it depends on, or a constant as text."""

    element: str
    tensor: Tensor | None = None
    constant: str | None = None
    loops: frozenset[int] = frozenset()


class Evaluator:
    """Evaluates values of one region, each once.

    Args:
        emit: the kernel being built.
        region: the region.
        arguments: what its block arguments hold; arguments that nothing needs may be missing.
        captures: the tensors that it captures.
        sizes: iterations of each loop.
        index: the iteration number along a loop in loop space; None computes it.
    """

    def __init__(
        self,
        emit: Emitter,
        region: Region,
        arguments: Mapping[int, Value],
        captures: Sequence[Tensor],
        sizes: Sequence[int],
        index: Callable[[int], Tensor] | None = None,
    ) -> None:
        self.emit = emit
        self.region = region
        self.sizes = sizes
        self.captures = captures
        self._index = index or (lambda loop: views.index_along(emit, loop, sizes))
        self._known: dict[int, Value] = {**self._captured_scalars(), **arguments}
        self._producers = producers(region)
        self._first = {op: number for number, (op, result) in self._producers.items() if result == 0}

    def _captured_scalars(self) -> dict[int, Value]:
        """Scalars from outside the region (a device's offset): the same at every iteration."""
        here = [1] * len(self.sizes)
        return {
            -1 - number: Value(type_.element, tensor.reshape(here))
            for number, (tensor, type_) in enumerate(zip(self.captures, self.region.captures, strict=True))
            if not type_.shape
        }

    def value(self, number: int) -> Value:
        """A value of the region, with everything that it needs."""
        needed = closure(self.region, [number], self._known)
        for op_number in sorted({self._producers[n][0] for n in needed if n not in self._known and n >= 0}):
            self._evaluate(op_number)
        return self._known[number]

    def tensor(self, number: int) -> Tensor:
        """A value of the region as a tensor that broadcasts in loop space."""
        return self.materialize(self.value(number))

    def materialize(self, value: Value) -> Tensor:
        if value.tensor is not None:
            return value.tensor
        return self.emit.full([1] * len(self.sizes), str(value.constant), value.element)

    def check_assertions(self) -> None:
        """Emit the region's `cf.assert` ops."""
        for op in self.region.ops:
            if op.name == "cf.assert":
                holds = self.tensor(op.operands[0])
                self.emit.call(torch._assert, holds.all(), str(op.attribute("msg")))

    def _evaluate(self, op_number: int) -> None:
        for offset, value in enumerate(self._results(self.region.ops[op_number])):
            self._known[self._first[op_number] + offset] = value

    def _results(self, op: RegionOp) -> Sequence[Value]:
        if op.name in ("arith.constant", "index.constant"):
            return [Value(op.results[0], constant=str(op.attribute("value")))]
        if op.name == "linalg.index":
            loop = int(str(op.attribute("dim")))
            return [Value("index", self._index(loop), loops=frozenset([loop]))]
        if op.name == "tensor.extract":
            loops = frozenset[int]().union(*(self._known[number].loops for number in op.operands[1:]))
            return [Value(op.results[0], self._extract(op), loops=loops)]
        operands = [self._known[number] for number in op.operands]
        if all(operand.tensor is None for operand in operands):
            return self._fold(op, operands)
        return self._apply(op, operands)

    def _apply(self, op: RegionOp, operands: Sequence[Value]) -> Sequence[Value]:
        elements = tuple(operand.element for operand in operands)
        arguments = self._arguments(op, operands, elements)
        results = scalar.function(op)(scalar.Call(op, elements, self.emit.precision), *arguments)
        tensors = results if isinstance(results, tuple) else (results,)
        loops = frozenset[int]().union(*(operand.loops for operand in operands))
        return [Value(element, tensor, loops=loops) for element, tensor in zip(op.results, tensors, strict=True)]

    def _arguments(self, op: RegionOp, operands: Sequence[Value], elements: tuple[str, ...]) -> list[object]:
        plain = scalar.takes_numbers(op, elements)
        if op.name == "arith.select" and not any(operand.tensor is not None for operand in operands[1:]):
            plain = False
        return [
            constant_value(operand.constant, operand.element)
            if plain and operand.constant is not None
            else self.materialize(operand)
            for operand in operands
        ]

    def _fold(self, op: RegionOp, operands: Sequence[Value]) -> Sequence[Value]:
        """Constants are computed while the kernel is built, in the type that the region declares."""
        elements = tuple(operand.element for operand in operands)
        arguments = [
            torch.tensor(constant_value(str(operand.constant), operand.element), dtype=self.emit.dtype(operand.element))
            for operand in operands
        ]
        results = scalar.function(op)(scalar.Call(op, elements, self.emit.precision), *arguments)
        tensors = results if isinstance(results, tuple) else (results,)
        return [
            Value(element, constant=constant_text(tensor.item()))
            for element, tensor in zip(op.results, tensors, strict=True)
        ]

    def _extract(self, op: RegionOp) -> Tensor:
        table, type_ = self._table(op.operands[0])
        indices = [self._known[number] for number in op.operands[1:]]
        if not indices:
            return table
        slices = self._whole_dimensions(op, type_)
        addressed = [dim for dim in range(len(indices)) if dim not in slices]
        if len(addressed) == 1 and slices and not indices[addressed[0]].loops & set(slices.values()):
            return self._take(table, indices, addressed[0], slices)
        return self.emit.call(torch.ops.aten.index.Tensor, table, [self.materialize(index) for index in indices])

    def _table(self, number: int) -> tuple[Tensor, TensorType]:
        if number >= 0:
            raise JogakError("tensor.extract reads a tensor that is made inside the region")
        return self.captures[-number - 1], self.region.captures[-number - 1]

    def _whole_dimensions(self, op: RegionOp, type_: TensorType) -> dict[int, int]:
        """Dimensions of a table that a loop of the same size runs through, by that loop."""
        found: dict[int, int] = {}
        for dim, number in enumerate(op.operands[1:]):
            producer = self._producers.get(number)
            if producer is None or self.region.ops[producer[0]].name != "linalg.index":
                continue
            loop = int(str(self.region.ops[producer[0]].attribute("dim")))
            if self.sizes[loop] == type_.shape[dim] and loop not in found.values():
                found[dim] = loop
        return found

    def _take(self, table: Tensor, indices: Sequence[Value], dim: int, slices: Mapping[int, int]) -> Tensor:
        """Rows addressed by data along `dim`; loops of their own run through the other dimensions."""
        index = indices[dim]
        rows = self.emit.call(torch.index_select, table, dim, self.materialize(index).reshape(-1))
        data_loops = sorted(index.loops)
        before = [slices[d] for d in range(dim)]
        after = [slices[d] for d in range(dim + 1, len(indices))]
        loops = [*before, *data_loops, *after]
        rows = rows.reshape([self.sizes[loop] for loop in loops])
        if loops != sorted(loops):
            rows = rows.permute(sorted(range(len(loops)), key=loops.__getitem__))
        return rows.reshape([size if loop in loops else 1 for loop, size in enumerate(self.sizes)])


def producers(region: Region) -> dict[int, tuple[int, int]]:
    """For each value that an op makes: the number of the op and of its result."""
    found: dict[int, tuple[int, int]] = {}
    number = len(region.arguments)
    for op_number, op in enumerate(region.ops):
        for result in range(len(op.results)):
            found[number] = (op_number, result)
            number += 1
    return found


def closure(region: Region, numbers: Iterable[int], known: Iterable[int] = ()) -> set[int]:
    """Everything that values of a region depend on, themselves included, down to what is known."""
    made = producers(region)
    stop = set(known)
    seen: set[int] = set()
    todo = list(numbers)
    while todo:
        number = todo.pop()
        if number in seen:
            continue
        seen.add(number)
        if number in made and number not in stop:
            todo.extend(region.ops[made[number][0]].operands)
    return seen
