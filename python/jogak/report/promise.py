"""What the compiler promises of a per-device program before it runs: collectives, arithmetic, time and peak memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch_mlir import ir

from jogak.cost.clock import Work, run_clock
from jogak.cost.collectives import PERMUTE
from jogak.cost.machine import Machine, computing_element
from jogak.cost.model import CostModel
from jogak.ir.diagnostics import Diagnostic, Severity, SourceLocation
from jogak.ir.grid import axis_lists
from jogak.ir.permute import is_permute
from jogak.ir.structured import Structured, arithmetic_of, element_of, is_tensor, is_view, region_values, shape_of
from jogak.memory.attributes import ARENA
from jogak.memory.reading import bytes_of, read_tape
from jogak.memory.tape import lay_out
from jogak.runtime.kinds import COMMUNICATION, HALO
from jogak.sharding.mesh import Mesh
from jogak.sharding.reading import is_free
from jogak.sharding.rules import tensor_operands
from jogak.text import size

_FREE = {"tensor.empty", "arith.constant", "func.return", "shard.process_multi_index"}


@dataclass(frozen=True)
class Collective:
    """One collective of a per-device program.

    Attributes:
        kind: name of the `shard` op; `permute` for a send and the receive of what it leaves.
        axes: mesh axes of its groups.
        bytes: the larger of what a device puts in and gets out.
        op: the op.
    """

    kind: str
    axes: tuple[str, ...]
    bytes: int
    op: ir.Operation


@dataclass
class Promise:
    """The prediction for one device.

    Attributes:
        collectives: kind to {count, bytes, by_axis: {axes: {count, bytes}}}.
        flops: arithmetic operations.
        compute_time_s: seconds of kernels.
        communication_time_s: seconds of collectives.
        step_time_s: seconds of the program; where the machine runs collectives beside kernels less than their sum.
        peak_memory_bytes: the most that is alive at once, arguments and results included; the arena once it is planned.
    """

    collectives: dict[str, dict[str, Any]] = field(default_factory=dict)
    flops: float = 0.0
    compute_time_s: float = 0.0
    communication_time_s: float = 0.0
    step_time_s: float = 0.0
    peak_memory_bytes: int = 0

    @property
    def hidden_time_s(self) -> float:
        """Seconds of collectives that pass behind kernels."""
        return self.compute_time_s + self.communication_time_s - self.step_time_s


def as_collective(op: ir.Operation, mesh: Mesh) -> Collective | None:
    """An op as a collective that moves data; None when it is none."""
    dialect, _, kind = op.name.partition(".")
    if is_permute(op):
        kind = PERMUTE
    if dialect != "shard" or kind not in COMMUNICATION:
        return None
    if kind == "update_halo":
        return _halo(op, mesh)
    axes = tuple(mesh.axes[int(number)] for number in op.attributes["grid_axes"])
    return Collective(kind, axes, max(bytes_of(op.operands[0]), bytes_of(op.results[0])), op)


def collectives_of(function: ir.Operation, mesh: Mesh) -> Iterator[Collective]:
    """Every collective of a per-device program that moves data, in order."""
    for view in function.regions[0].blocks[0].operations:
        collective = as_collective(view.operation, mesh)
        if collective is not None:
            yield collective


def _halo(op: ir.Operation, mesh: Mesh) -> Collective:
    """An exchange along one dimension: its bytes are those of the two margins."""
    split = axis_lists(op.attributes["split_axes"])
    (dim,) = [number for number, axes in enumerate(split) if axes]
    low, high = ir.DenseI64ArrayAttr(op.attributes["static_halo_sizes"])
    axes = tuple(mesh.axes[number] for number in split[dim])
    moved = bytes_of(op.results[0]) * (low + high) // shape_of(op.results[0])[dim]
    return Collective(HALO, axes, moved, op)


def promise(function: ir.Operation, mesh: Mesh, cost: CostModel) -> Promise:
    """Predict a per-device program."""
    made = Promise()
    for collective in collectives_of(function, mesh):
        entry = made.collectives.setdefault(collective.kind, {"count": 0, "bytes": 0, "by_axis": {}})
        along = entry["by_axis"].setdefault(",".join(mesh.told(collective.axes)), {"count": 0, "bytes": 0})
        for counter in (entry, along):
            counter["count"] += 1
            counter["bytes"] += collective.bytes
        made.communication_time_s += seconds_of(collective, cost)
    works = list(_works(function, mesh, cost))
    made.compute_time_s = sum(work.seconds for work in works if not work.moves)
    made.flops = sum(flops_of(view.operation) for view in function.regions[0].blocks[0].operations)
    made.step_time_s = run_clock(works) if cost.machine.overlap else made.compute_time_s + made.communication_time_s
    made.peak_memory_bytes = peak_memory(function)
    return made


def _works(function: ir.Operation, mesh: Mesh, cost: CostModel) -> Iterator[Work]:
    """The program as work for the clock, an entry for each op; what takes no time passes on what it needs."""
    maker: dict[ir.Value, int] = {}
    for number, view in enumerate(function.regions[0].blocks[0].operations):
        op = view.operation
        read = [*op.operands, *region_values(op)]
        needs = tuple(dict.fromkeys(maker[value] for value in read if value in maker))
        maker |= dict.fromkeys(op.results, number)
        yield Work(op_seconds(op, mesh, cost), needs, as_collective(op, mesh) is not None)


def seconds_of(collective: Collective, cost: CostModel) -> float:
    """Predicted seconds; neighbours exchange their margins by sending."""
    kind = "send" if collective.kind == HALO else collective.kind
    return cost.collective(kind, collective.axes, collective.bytes)


def _element(op: ir.Operation) -> str:
    """The element type that an op computes in."""
    inputs = list(op.operands)[: len(op.operands) - len(op.results)] if op.name == "linalg.generic" else op.operands
    return computing_element(
        [element_of(value) for value in inputs if is_tensor(value)], [element_of(result) for result in op.results]
    )


def flops_of(op: ir.Operation) -> float:
    """Arithmetic operations of an op."""
    return Structured(op).flops if op.name == "linalg.generic" else 0.0


def kernel_seconds(op: ir.Operation, cost: CostModel) -> float:
    """Seconds of the kernel of an op; 0 where it has none."""
    if op.name in _FREE or is_view(op) or op.name.startswith("shard.") or (op.results and is_free(op.results[0])):
        return 0.0
    # What every device makes for itself (an empty tensor, a constant fill) is part of the kernel that uses it.
    read = dict.fromkeys(value for value in tensor_operands(op) if not is_free(value))
    touched = sum(map(bytes_of, [*read, *op.results]))
    return cost.kernel(_element(op), flops_of(op), touched, arithmetic_of(op))


def op_seconds(op: ir.Operation, mesh: Mesh, cost: CostModel) -> float:
    """Seconds of an op of a per-device program: of its kernel, or of its collective."""
    collective = as_collective(op, mesh)
    if collective is None:
        return kernel_seconds(op, cost)
    return seconds_of(collective, cost)


def memory_warning(promised: Promise, machine: Machine, model: str) -> Diagnostic | None:
    """What to say where a device's program does not fit its memory; None where it fits."""
    peak, limit = promised.peak_memory_bytes, machine.device.memory_bytes
    if peak <= limit:
        return None
    message = (
        f"the predicted peak memory of {peak} bytes ({size(peak)}) a device is more than the {limit} bytes "
        f"({size(limit)}) of machine {machine.name!r}"
    )
    hint = (
        "shard more of the parameters and inputs, give --micro-batches or --memory, "
        "or take more devices or a machine with more memory"
    )
    return Diagnostic(Severity.WARNING, message, SourceLocation(scope=model), hint=hint)


def peak_memory(function: ir.Operation) -> int:
    """Bytes of the arena that the program was planned for, or alive at the worst point of one without a plan."""
    if ARENA in function.attributes:
        return int(ir.IntegerAttr(function.attributes[ARENA]).value)
    return lay_out(read_tape(function).tape).peak
