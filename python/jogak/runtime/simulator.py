"""The CPU simulator: all devices of a mesh in one process.

Devices are coroutines. Each runs until it needs another one; a collective happens when all devices of its group have
come to it, so the programs may differ and may be out of step. Sends are buffered, receives wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jogak.runtime import collectives
from jogak.runtime.arena import Arena
from jogak.runtime.counts import CollectiveCounts, Counter, summarize
from jogak.runtime.device import Compiled, Coroutine, Request, bind, compile_program, run
from jogak.runtime.errors import SimulationError
from jogak.runtime.program import Program, load_program
from jogak.runtime.sharded import shard_value, unshard_value
from jogak.runtime.types import Precision, dtype_of
from jogak.sharding.mesh import Mesh

if TYPE_CHECKING:
    from torch_mlir import ir

__all__ = ["SimulationError", "SimulationResult", "execute", "shard_value", "simulate", "unshard_value"]

ONE_DEVICE = Mesh(("device",), (1,))


@dataclass(frozen=True)
class SimulationResult:
    """What a run produced.

    Attributes:
        outputs: for each device its results, in the order of its program.
        collectives: how often and how much devices communicated.
        memory: for each device what it used of its arena; empty when the programs have none, or in `f64`.
    """

    outputs: Sequence[list[Tensor]]
    collectives: CollectiveCounts
    memory: Sequence[MemoryUse] = ()


@dataclass(frozen=True)
class MemoryUse:
    """What a device used of its arena.

    Attributes:
        arena: bytes that were planned.
        extent: the end of the highest byte that held a value.
        live: the most bytes that held values which were still needed.
    """

    arena: int
    extent: int
    live: int


def simulate(
    programs: Program | Sequence[Program],
    mesh: Mesh,
    inputs: Sequence[Mapping[str, Tensor]],
    *,
    precision: Precision | None = None,
) -> SimulationResult:
    """Run the programs of all devices.

    Args:
        programs: the program of every device, or one for each.
        mesh: the mesh; its shape must be that of the programs' grid.
        inputs: for each device its local arguments by name.
        precision: "f64" holds and computes every float in float64.

    Raises:
        SimulationError: wrong inputs, devices that wait for each other, collectives that do not match, a failing op.
        JogakError: an op cannot be lowered.
    """
    each = [programs] * mesh.devices if isinstance(programs, Program) else list(programs)
    if len(each) != mesh.devices or len(inputs) != mesh.devices:
        raise SimulationError(
            f"the mesh {mesh} has {mesh.devices} devices, but {len(each)} programs and {len(inputs)} inputs are given",
            hint="give one program, or one for each device, and one set of inputs for each",
        )
    for program in each:
        if program.mesh is not None and program.mesh.shape != mesh.shape:
            raise SimulationError(f"a program for the mesh {program.mesh} cannot run on the mesh {mesh}")
    compiled = {id(program): compile_program(program, precision) for program in each}
    counters = [Counter() for _ in each]
    planned = precision is None and all(program.arena is not None for program in each)
    arenas = [Arena(program.arena, n) if planned and program.arena else None for n, program in enumerate(each)]
    with torch.no_grad():
        devices = [
            _start(compiled[id(program)], mesh, device, inputs[device], counters[device], arenas[device])
            for device, program in enumerate(each)
        ]
        outputs = _Scheduler(mesh, devices, precision).run()
    used = tuple(MemoryUse(arena.plan.size, arena.extent, arena.peak) for arena in arenas if arena)
    return SimulationResult(outputs, summarize([counter.table for counter in counters]), used)


def _start(
    compiled: Compiled,
    mesh: Mesh,
    device: int,
    inputs: Mapping[str, Tensor],
    counter: Counter,
    arena: Arena | None,
) -> Coroutine:
    own = compiled.program.mesh
    named = mesh if own is None else own
    return run(compiled, named, device, bind(compiled.program, inputs, device, compiled.precision), counter, arena)


def execute(
    module: ir.Module, inputs: Mapping[str, Tensor], *, precision: Precision | None = None
) -> dict[str, Tensor]:
    """Run `@main` of a module on one device.

    Returns:
        Its results by name, in order.

    Raises:
        SimulationError: wrong inputs, or a failing op.
        JogakError: an op cannot be executed.
    """
    program = load_program(module)
    mesh = ONE_DEVICE if program.mesh is None else program.mesh
    if mesh.devices != 1:
        raise SimulationError(f"the module is for the mesh {mesh}", hint="simulate() runs several devices")
    outputs = simulate(program, mesh, [inputs], precision=precision).outputs[0]
    return {result.name: output for result, output in zip(program.results, outputs, strict=True)}


class _Scheduler:
    """Lets every device run as far as it can, and brings groups together."""

    def __init__(self, mesh: Mesh, devices: Sequence[Coroutine], precision: Precision | None) -> None:
        self._mesh = mesh
        self._devices = devices
        self._precision = precision
        self._outputs: dict[int, list[Tensor]] = {}
        self._waiting: dict[int, Request] = {}
        self._mail: dict[tuple[int, int], deque[Request]] = {}
        self._ready: deque[tuple[int, Tensor | None]] = deque((device, None) for device in range(len(devices)))

    def run(self) -> list[list[Tensor]]:
        """Run all devices to their end."""
        while self._ready:
            device, answer = self._ready.popleft()
            try:
                request = self._devices[device].send(answer)  # type: ignore[arg-type]
            except StopIteration as end:
                self._outputs[device] = end.value
                continue
            self._arrive(request)
        if self._waiting:
            raise _deadlock(self._waiting, self._outputs)
        left = [letters[0] for letters in self._mail.values() if letters]
        if left:
            raise SimulationError(f"what {_describe(left[0])} sends is never received", where=left[0].step.location)
        return [self._outputs[device] for device in range(len(self._devices))]

    def _arrive(self, request: Request) -> None:
        kind = request.collective.kind
        if kind == "send":
            self._post(request)
        elif kind == "recv":
            self._waiting[request.device] = request
            self._deliver(request.device)
        else:
            self._waiting[request.device] = request
            self._meet(request)

    def _peer(self, request: Request) -> int:
        return request.group[collectives.root(request.collective, self._mesh)]

    def _post(self, request: Request) -> None:
        target = self._peer(request)
        self._mail.setdefault((request.device, target), deque()).append(request)
        self._ready.append((request.device, request.tensor))
        self._deliver(target)

    def _deliver(self, device: int) -> None:
        """Hand a waiting receiver the oldest message of its source."""
        request = self._waiting.get(device)
        if request is None or request.collective.kind != "recv":
            return
        letters = self._mail.get((self._peer(request), device))
        if not letters:
            return
        letter = letters.popleft()
        if letter.step.operand_type != request.step.result_type or letter.collective.axes != request.collective.axes:
            raise _mismatch([letter, request])
        del self._waiting[device]
        self._ready.append((device, letter.tensor))

    def _meet(self, request: Request) -> None:
        """Run a collective when its whole group has come."""
        present = [self._waiting.get(device) for device in request.group]
        together = [each for each in present if each is not None and set(each.group) == set(request.group)]
        if len(together) < len(request.group) or any(each.collective.kind == "recv" for each in together):
            return
        if len({_signature(each) for each in together}) > 1:
            raise _mismatch(together)
        dtype = dtype_of(request.step.result_type.element, self._precision)
        tensors = [each.tensor for each in together]
        results = collectives.run(request.collective, self._mesh, request.group, tensors, dtype)
        for device, result in zip(request.group, results, strict=True):
            del self._waiting[device]
            self._ready.append((device, result))


def _signature(request: Request) -> tuple[object, ...]:
    return request.collective, request.step.operand_type, request.step.result_type


def _describe(request: Request) -> str:
    collective, step = request.collective, request.step
    details = [f"on {','.join(collective.axes)}"] if collective.axes else []
    if collective.kind in ("send", "recv"):
        details.append(f"{'to' if collective.kind == 'send' else 'from'} {list(collective.peer or ())}")
    types = f"{step.operand_type} -> {step.result_type}"
    reduction = f" ({collective.reduction})" if collective.reduction else ""
    return f"device {request.device}: {collective.kind}{reduction} {' '.join(details)} {types} at {step.location}"


def _mismatch(requests: Sequence[Request]) -> SimulationError:
    lines = "\n".join(f"  {_describe(request)}" for request in requests)
    return SimulationError(
        f"the collectives of one group do not match:\n{lines}",
        where=requests[0].step.location,
        hint="devices of a group must call the same collective with equal types and axes",
    )


def _deadlock(waiting: Mapping[int, Request], finished: Mapping[int, object]) -> SimulationError:
    lines = []
    for device, request in sorted(waiting.items()):
        absent = [other for other in request.group if other != device]
        over = [other for other in absent if other in finished]
        note = f"; finished already: {', '.join(map(str, over))}" if over else ""
        lines.append(f"  {_describe(request)}, waits for {', '.join(map(str, absent)) or 'itself'}{note}")
    first = waiting[min(waiting)]
    return SimulationError(
        "deadlock, no device can go on:\n" + "\n".join(lines),
        where=first.step.location,
        hint="every device of a group must reach its collectives in the same order",
    )
