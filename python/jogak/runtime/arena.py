"""The memory of one simulated device: one stretch of bytes, every value at its planned place in it.

It knows nothing of how the plan was made. It keeps which bytes hold a value that is still needed, refuses a step that
would write over them, and fills what is no longer needed with a pattern that floats read as NaN. What is around the
arena is guarded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from jogak.runtime.errors import SimulationError
from jogak.runtime.program import CollectiveStep, ConstantStep, KernelStep
from jogak.runtime.spec import LinalgSpec, RegionSpec, TensorSpec
from jogak.runtime.types import TensorType, dtype_of

_GRAIN = 64
_GUARD = 4096
_POISON = 0xFF
_GUARD_BYTE = 0xA5


@dataclass(frozen=True)
class ArenaPlan:
    """The arena of a program.

    Attributes:
        size: bytes.
        offsets: first byte of each value that has memory of its own; all others are views or numbers in registers.
        scratch: by the number of a step's first result the first byte and the size of what a target takes while the
            step runs; the simulator leaves it empty.
    """

    size: int
    offsets: Mapping[int, int]
    scratch: Mapping[int, tuple[int, int]] = field(default_factory=dict)


@dataclass
class _Held:
    """A stretch of bytes in use, and the values in it that are still needed."""

    end: int
    values: set[int] = field(default_factory=set)


class Arena:
    """Memory of the planned size."""

    def __init__(self, plan: ArenaPlan, device: int) -> None:
        self.plan = plan
        self._device = device
        self._bytes = torch.full((plan.size + 2 * _GUARD,), _POISON, dtype=torch.uint8)
        self._bytes[:_GUARD] = _GUARD_BYTE
        self._bytes[_GUARD + plan.size :] = _GUARD_BYTE
        self._held: dict[int, _Held] = {}
        self._home: dict[int, int] = {}
        self._arguments: set[int] = set()
        self._live = 0
        self.peak = 0
        self.extent = 0

    def argument(self, value: int, tensor: Tensor, type_: TensorType) -> Tensor:
        """Put an argument at its place, where it stays: the caller owns it, and only its update may replace it."""
        self._arguments.add(value)
        return self._write(value, tensor, type_, f"argument {value}", set())

    def store(self, step: KernelStep | ConstantStep | CollectiveStep, results: Sequence[Tensor]) -> list[Tensor]:
        """Put the results of a step at their places; views and numbers stay what they are.

        Raises:
            SimulationError: bytes that are still needed would be overwritten, or the step may not do that in place.
        """
        stored: list[Tensor] = []
        taken: set[int] = set()
        for number, (value, tensor) in enumerate(zip(step.results, results, strict=True)):
            if value in self.plan.offsets:
                taken.update(self._make_room(step, number, value, tensor))
        for value, tensor in zip(step.results, self._apart(step.results, results), strict=True):
            if value in self.plan.offsets:
                type_ = TensorType(tuple(tensor.shape), _element(step, value))
                stored.append(self._write(value, tensor, type_, step.location, taken))
            else:
                stored.append(self._view(step, value, tensor))
        if step.results and step.results[0] in self.plan.scratch:
            self._leave_room(step, *self.plan.scratch[step.results[0]])
        return stored

    def _leave_room(self, step: KernelStep | ConstantStep | CollectiveStep, start: int, size: int) -> None:
        """Operands, results and everything else that is needed lie outside of a step's scratch."""
        end = start + -(-size // _GRAIN) * _GRAIN
        if end > self.plan.size or any(low < end and start < held.end for low, held in self._held.items()):
            raise SimulationError(
                f"bytes {start} to {end}, the scratch of a step of device {self._device}, are in use",
                where=step.location,
                hint="the offsets of the plan are wrong",
            )
        self.extent = max(self.extent, end)
        self.peak = max(self.peak, self._live + end - start)

    def _apart(self, values: Sequence[int], results: Sequence[Tensor]) -> Sequence[Tensor]:
        """The results of a step with several, none of which may lie where another is about to be written.

        A kernel that yields what it reads hands out the operand itself; a device would read each element before it
        writes any result of the same iteration.
        """
        if len(results) == 1:
            return results
        storage = self._bytes.untyped_storage().data_ptr()
        inside = [each.untyped_storage().data_ptr() == storage for each in results]
        return [
            each.clone() if lies and value in self.plan.offsets else each
            for value, each, lies in zip(values, results, inside, strict=True)
        ]

    def free(self, values: Sequence[int]) -> None:
        """Values that nobody reads any more: poison their bytes once no view of them is left."""
        for value in values:
            if value in self._arguments:
                continue
            start = self._home.pop(value, None)
            held = self._held.get(start) if start is not None else None
            if start is None or held is None:
                continue
            held.values.discard(value)
            if not held.values:
                self._bytes[_GUARD + start : _GUARD + held.end] = _POISON
                self._live -= held.end - start
                del self._held[start]

    def check_guards(self) -> None:
        """Raise SimulationError when something was written around the arena."""
        ends = torch.cat([self._bytes[:_GUARD], self._bytes[_GUARD + self.plan.size :]])
        if not bool((ends == _GUARD_BYTE).all()):
            raise SimulationError(f"device {self._device} wrote outside of its arena")

    def _span(self, value: int, tensor: Tensor) -> tuple[int, int]:
        start = self.plan.offsets[value]
        return start, start + -(-max(tensor.numel() * tensor.element_size(), 0) // _GRAIN) * _GRAIN

    def _make_room(
        self, step: KernelStep | ConstantStep | CollectiveStep, number: int, value: int, tensor: Tensor
    ) -> set[int]:
        """Values that the result is written over, each of which must die in this step."""
        start, end = self._span(value, tensor)
        over = [(low, held) for low, held in self._held.items() if low < end and start < held.end]
        for low, held in over:
            needed = held.values - set(step.frees)
            whole = (low, held.end) == (start, end)
            if needed or not whole or not may_overwrite(step, number, {*held.values}):
                raise SimulationError(
                    f"device {self._device} would overwrite bytes {max(low, start)} to {min(held.end, end)} of its "
                    f"arena while value {min(needed or held.values)} is in use",
                    where=step.location,
                    hint="the offsets of the plan are wrong",
                )
        return {old for _, held in over for old in held.values}

    def _write(self, value: int, tensor: Tensor, type_: TensorType, where: str, taken: set[int]) -> Tensor:
        start, end = self._span(value, tensor)
        if end > self.plan.size:
            raise SimulationError(f"a value ends at byte {end} of an arena of {self.plan.size}", where=where)
        view = self._bytes[_GUARD + start : _GUARD + start + tensor.numel() * tensor.element_size()]
        place = view.view(dtype_of(type_.element)).reshape(tensor.shape)
        place.copy_(tensor)
        if start in self._held:
            for old in taken & self._held[start].values:
                self._home.pop(old, None)
            self._held[start].values -= taken
        else:
            self._live += end - start
        held = self._held.setdefault(start, _Held(end))
        if end > start:
            held.values.add(value)
            self._home[value] = start
        self.peak = max(self.peak, self._live)
        self.extent = max(self.extent, end)
        return place

    def _view(self, step: KernelStep | ConstantStep | CollectiveStep, value: int, tensor: Tensor) -> Tensor:
        """A result without a place: a view of something in the arena, or a number in a register."""
        base = self._bytes.data_ptr() + _GUARD
        start = tensor.data_ptr() - base
        inside = tensor.untyped_storage().data_ptr() == self._bytes.untyped_storage().data_ptr()
        if inside and not (isinstance(step, KernelStep) and step.spec.name == "tensor.extract"):
            homes = (low for low, held in self._held.items() if low <= start < max(held.end, low + 1))
            low = next(homes, None)
            if low is None:
                raise SimulationError("a view of bytes that hold nothing any more", where=step.location)
            self._held[low].values.add(value)
            self._home[value] = low
            return tensor
        if tensor.dim() == 0:
            return tensor.clone()
        raise SimulationError("a result has no place in the arena", where=step.location)


def _element(step: KernelStep | ConstantStep | CollectiveStep, value: int) -> str:
    if isinstance(step, ConstantStep):
        return step.type.element
    if isinstance(step, CollectiveStep):
        return step.result_type.element
    number = step.results.index(value)
    if isinstance(step.spec, LinalgSpec):
        return step.spec.operands[step.spec.inputs + number].element
    return step.spec.results[number].element


def may_overwrite(step: KernelStep | ConstantStep | CollectiveStep, number: int, old: set[int]) -> bool:
    """Whether a device can write a result where operands lie that it reads in the same step.

    It can where every element is read before, or as, the same element is written: arithmetic element by element, the
    initial value of a reduction, an all-reduce, and what is inserted into a tensor.
    """
    if isinstance(step, CollectiveStep):
        return step.collective.kind == "all_reduce"
    if isinstance(step, ConstantStep):
        return False
    spec = step.spec
    readers = [place for place, value in enumerate(step.operands) if value in old]
    if isinstance(spec, LinalgSpec):
        tensors = spec.tensors()
        if any(place >= len(tensors) for place in readers):
            return False
        output = spec.inputs + number
        alike = all(
            spec.maps[tensors[p]] == spec.maps[output]
            and prod(spec.operands[tensors[p]].shape) == prod(spec.operands[output].shape)
            for p in readers
        )
        return alike and (all(spec.parallel) or all(tensors[p] == output for p in readers))
    if isinstance(spec, RegionSpec):
        return readers == [spec.inputs + number]
    return isinstance(spec, TensorSpec) and spec.name in ("tensor.insert_slice", "tensor.insert") and readers == [1]
