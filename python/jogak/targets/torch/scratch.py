"""The memory that steps of a program take beside their operands and results while they run.

An op of the program is several calls of PyTorch: what lies between them is memory, too. The kernel runs once on tensors
without data, with every new storage counted from the call that makes it to its last use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from math import prod
from typing import Any, NamedTuple

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from jogak.errors import JogakError
from jogak.runtime import liveness
from jogak.runtime.kernels.build import build
from jogak.runtime.margins import with_margins
from jogak.runtime.program import CollectiveStep, KernelStep, Program, Step
from jogak.runtime.reversal import with_reversals
from jogak.runtime.spec import KernelSpec, LinalgSpec
from jogak.runtime.types import TensorType, dtype_of
from jogak.sharding.mesh import Mesh
from jogak.targets.distributed.rank.exchange import received_whole
from jogak.targets.distributed.schedule import Memory
from jogak.targets.torch.kernels import prepared


class _Storages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of storages that calls make; `peak` is the most that was there at once."""

    def __init__(self, given: Sequence[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._given = {StorageWeakRef(each.untyped_storage()) for each in given}  # type: ignore[no-untyped-call]
        self._alive: dict[StorageWeakRef, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self._alive = {each: bytes_ for each, bytes_ in self._alive.items() if not each.expired()}  # type: ignore[no-untyped-call]
        for value in tree_leaves(made):
            if isinstance(value, torch.Tensor):
                storage = value.untyped_storage()
                reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
                if reference not in self._given:
                    self._alive[reference] = storage.nbytes()
        self.peak = max(self.peak, sum(self._alive.values()))
        return made


def device_steps(program: Program) -> tuple[Step, ...]:
    """The steps as this target takes them, in the program's order."""
    results = [result.value for result in program.results]
    return liveness.plan(with_margins(with_reversals(program.steps), results), results)


def allocations(program: Program) -> Mapping[int, int]:
    """For steps by the number of their first result the bytes that PyTorch allocates at the worst moment of each.

    Its results count where they are new memory; an operand that dies there, and that the program owns, is overwritten.
    """
    return {number: taken.most for number, taken in _taken(program)}


def _taken(program: Program) -> Iterator[tuple[int, Taken]]:
    types = dict(_types(program))
    strides: dict[int, Strides] = {}
    updated = {result.updates for result in program.results}
    owned = {each.value for number, each in enumerate(program.arguments) if number in updated}
    for step in device_steps(program):
        taken: Taken | None = None
        if isinstance(step, CollectiveStep) and step.results and program.mesh is not None:
            taken = _of_collective(step, program.mesh)
        elif isinstance(step, KernelStep):
            dying = (k for k, v in enumerate(step.operands) if v in step.frees and step.operands.count(v) == 1)
            donated = frozenset(k for k in dying if step.operands[k] in owned)
            lying = tuple(strides.get(number) for number in step.operands)
            known = lying if any(lying) else ()
            taken = of_kernel(step.spec, tuple(types[number] for number in step.operands), donated, known)
        if taken is not None:
            strides[step.results[0]] = taken.strides
            owned.update(step.results if taken.owned else ())
            yield step.results[0], taken


def memory_of(program: Program) -> Memory:
    """What the steps of a program take, for their order."""
    taken = dict(_taken(program))
    return Memory(
        {number: _bytes(type_) for number, type_ in _types(program)},
        {number: each.most for number, each in taken.items()},
        frozenset(number for number, each in taken.items() if not each.kept),
        None if program.arena is None else program.arena.size - sum(_bytes(each.type) for each in program.arguments),
    )


def _types(program: Program) -> Iterator[tuple[int, TensorType]]:
    for argument in program.arguments:
        yield argument.value, argument.type
    for step in [*program.steps, *device_steps(program)]:
        if isinstance(step, KernelStep):
            yield from zip(step.results, _results(step.spec), strict=True)
        else:
            type_ = step.result_type if isinstance(step, CollectiveStep) else step.type
            yield from ((number, type_) for number in step.results)


def _results(spec: KernelSpec) -> Sequence[TensorType]:
    return spec.operands[spec.inputs :] if isinstance(spec, LinalgSpec) else spec.results


def _bytes(type_: TensorType) -> int:
    return prod(type_.shape) * dtype_of(type_.element).itemsize


Strides = tuple[int, ...] | None


class Taken(NamedTuple):
    """What a step takes of the allocator.

    Attributes:
        most: bytes at its worst moment.
        kept: bytes that its results hold afterwards; none where they lie in an operand's memory.
        owned: whether its only result may be overwritten by whoever reads it last.
        strides: of its only result; None where its elements lie in order.
    """

    most: int
    kept: int
    owned: bool
    strides: Strides = None


@cache
def of_kernel(
    spec: KernelSpec, operands: tuple[TensorType, ...], donated: frozenset[int], strides: tuple[Strides, ...] = ()
) -> Taken | None:
    """What a kernel takes; None where its calls depend on data.

    Args:
        donated: numbers of the operands that it may overwrite.
        strides: of the operands; () where the elements of all lie in order.
    """
    try:
        kernel = build(spec)
    except JogakError:
        return None  # whoever writes the program tells
    graph, known = prepared(kernel, operands, None, donated)
    if not known:
        return None
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        lying = strides or (None,) * len(operands)
        given = [_empty(each, strided) for each, strided in zip(operands, lying, strict=True)]
        with _Storages(given) as storages:
            made = fx.Interpreter(fx.GraphModule(kernel, graph)).run(*given)
    places = [each.untyped_storage()._cdata for each in given]
    held = {place for number, place in enumerate(places) if number not in donated}
    tensors = tree_leaves(made)
    results = [each.untyped_storage() for each in tensors]
    kept = sum(each.nbytes() for each in results if each._cdata not in places)
    if len(tensors) != 1:
        return Taken(storages.peak, kept, False)
    in_order = tensors[0].is_contiguous()
    return Taken(storages.peak, kept, results[0]._cdata not in held, None if in_order else tensors[0].stride())


def _empty(type_: TensorType, strides: Strides) -> torch.Tensor:
    dtype = dtype_of(type_.element)
    return (
        torch.empty(type_.shape, dtype=dtype)
        if strides is None
        else torch.empty_strided(type_.shape, strides, dtype=dtype)
    )


def _of_collective(step: CollectiveStep, mesh: Mesh) -> Taken | None:
    """Bytes of buffers and result, as `rank.mesh` and `rank.exchange` take them; None for the plan's own count."""
    collective, given, made = step.collective, _bytes(step.operand_type), _bytes(step.result_type)
    if mesh.size(collective.axes) == 1:
        return None
    match collective.kind:
        case "all_gather":
            return Taken(made + (made if collective.dim else 0), made, True)
        case "reduce_scatter":
            return Taken(given + (given if collective.dim else 0), made, True)
        case "all_to_all":
            most = made + (given if collective.dim else 0) + (made if collective.concat_dim else 0)
            return Taken(most, made, True)
        case "all_reduce":
            received = received_whole(given, mesh.size(collective.axes))
            return Taken(received, 0, True) if step.operands[0] in step.frees else Taken(made + received, made, True)
        case "all_slice":
            return Taken(0, 0, False)
    return None
