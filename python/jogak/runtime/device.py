"""One device: it runs its program until it needs another device."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jogak.runtime import collectives
from jogak.runtime.arena import Arena
from jogak.runtime.counts import Counter
from jogak.runtime.errors import SimulationError
from jogak.runtime.kernels.build import build
from jogak.runtime.kernels.tensor_ops import DYNAMIC
from jogak.runtime.program import Argument, Collective, CollectiveStep, ConstantStep, KernelStep, Program
from jogak.runtime.types import Precision, dtype_of, is_float
from jogak.sharding.mesh import Mesh

Kernel = Callable[..., "Tensor | tuple[Tensor, ...]"]
_FAILURES = (RuntimeError, IndexError, AssertionError, ValueError, TypeError)


@dataclass(frozen=True)
class Compiled:
    """A program with a kernel for each of its steps; collectives have none."""

    program: Program
    kernels: tuple[Kernel | None, ...]
    precision: Precision | None


@dataclass(frozen=True)
class Request:
    """A device asks for a collective and waits for its result."""

    device: int
    step: CollectiveStep
    collective: Collective
    group: tuple[int, ...]
    tensor: Tensor


Coroutine = Generator[Request, Tensor, list[Tensor]]


def compile_program(program: Program, precision: Precision | None) -> Compiled:
    """Build the kernels of a program; equal ones are built once per process.

    Raises:
        JogakError: an op cannot be lowered.
    """
    return Compiled(program, tuple(_kernel(step, precision) for step in program.steps), precision)


def _kernel(step: KernelStep | ConstantStep | CollectiveStep, precision: Precision | None) -> Kernel | None:
    if isinstance(step, KernelStep):
        kernel: Kernel = build(step.spec, precision).forward
        return kernel
    if isinstance(step, ConstantStep):
        data = step.data.to(dtype_of(step.type.element, precision))
        return lambda: data
    return None


def bind(program: Program, inputs: Mapping[str, Tensor], device: int, precision: Precision | None) -> list[Tensor]:
    """The arguments of a device in order, as its precision holds them.

    Raises:
        SimulationError: one is missing or unknown, or has the wrong shape or dtype.
    """
    unknown = sorted(set(inputs) - {argument.name for argument in program.arguments})
    if unknown:
        known = ", ".join(argument.name for argument in program.arguments)
        raise SimulationError(f"the program has no argument {unknown[0]!r}", hint=f"its arguments are {known}")
    return [_argument(argument, inputs, device, precision) for argument in program.arguments]


def _argument(argument: Argument, inputs: Mapping[str, Tensor], device: int, precision: Precision | None) -> Tensor:
    where = f"device {device}, argument {argument.name!r}"
    tensor = inputs.get(argument.name)
    if tensor is None:
        raise SimulationError("no value is given", where=where, hint="give every argument of the program a tensor")
    if tuple(tensor.shape) != argument.type.shape:
        shape = "x".join(map(str, tensor.shape))
        raise SimulationError(f"a tensor of shape {shape or 'scalar'} is given for {argument.type}", where=where)
    exact = precision is None or not is_float(argument.type.element)
    fits = tensor.dtype == dtype_of(argument.type.element) if exact else tensor.dtype.is_floating_point
    if not fits:
        raise SimulationError(f"a tensor of {tensor.dtype} is given for {argument.type}", where=where)
    return tensor.detach().to(dtype_of(argument.type.element, precision))


def run(
    compiled: Compiled, mesh: Mesh, device: int, arguments: list[Tensor], counter: Counter, arena: Arena | None = None
) -> Coroutine:
    """Run a program; it yields a request wherever it needs other devices, and returns its results.

    Args:
        arena: where its values lie; None leaves that to PyTorch.
    """
    program = compiled.program
    values: list[Tensor | None] = [None] * program.values
    for argument, tensor in zip(program.arguments, arguments, strict=True):
        values[argument.value] = arena.argument(argument.value, tensor, argument.type) if arena else tensor
    for step, kernel in zip(program.steps, compiled.kernels, strict=True):
        operands = [values[number] for number in step.operands]
        try:
            found = kernel(*operands) if kernel is not None else None
            if kernel is None and isinstance(step, CollectiveStep):
                counter.add(step)
                found = _local(step, mesh, device, operands)
        except _FAILURES as error:
            raise SimulationError(f"{_name(step)} failed on device {device}: {error}", where=step.location) from error
        if found is None and isinstance(step, CollectiveStep):
            found = yield _request(step, mesh, device, operands)
        results = found if isinstance(found, tuple) else (found,)
        if arena:
            results = tuple(arena.store(step, [_present(each) for each in results]))
        for number, result in zip(step.results, results, strict=True):
            values[number] = result
        for number in step.frees:
            values[number] = None
        if arena:
            arena.free(step.frees)
    if arena:
        arena.check_guards()
    return [_present(values[each.value]).clone() for each in program.results]


def _present(tensor: Tensor | None) -> Tensor:
    assert tensor is not None, "a value was freed before its last use"
    return tensor.contiguous()


def _name(step: KernelStep | ConstantStep | CollectiveStep) -> str:
    if isinstance(step, KernelStep):
        return step.spec.name
    return f"shard.{step.collective.kind}" if isinstance(step, CollectiveStep) else "arith.constant"


def _local(step: CollectiveStep, mesh: Mesh, device: int, operands: list[Tensor | None]) -> tuple[Tensor, ...] | None:
    return collectives.local(step.collective, mesh, device, [_present(operand) for operand in operands])


def _request(step: CollectiveStep, mesh: Mesh, device: int, operands: list[Tensor | None]) -> Request:
    """The request of a step, with every index that is known only now."""
    collective = step.collective
    if collective.peer is not None and DYNAMIC in collective.peer:
        dynamic = iter(operands[1:])
        peer = tuple(int(_present(next(dynamic))) if index == DYNAMIC else index for index in collective.peer)
        collective = replace(collective, peer=peer)
    group = mesh.group(device, collective.axes)
    tensor = _present(operands[0]) if operands else torch.empty(0)
    if collective.kind == "send":  # the sender goes on, and may write over it
        tensor = tensor.clone()
    return Request(device, step, collective, group, tensor)
