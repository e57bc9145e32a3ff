"""What the compiler promises of a per-device program before it runs: collectives, arithmetic, time and peak memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch_mlir import ir

from jogak.cost.machine import Machine, computing_element
from jogak.cost.model import CostModel
from jogak.ir.diagnostics import Diagnostic, Severity, SourceLocation
from jogak.ir.structured import Structured, element_of, is_tensor, shape_of
from jogak.report.summary import size
from jogak.sharding.graph import ELEMENT_BYTES
from jogak.sharding.mesh import Mesh
from jogak.sharding.rules import tensor_operands

COUNTED = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")
"""Collectives that move data between devices; a slice is local."""
VIEWS = {"tensor.expand_shape", "tensor.collapse_shape"}
_FREE = {"tensor.empty", "arith.constant", "func.return", "shard.process_multi_index"}


@dataclass(frozen=True)
class Collective:
    """One collective of a per-device program.

    Attributes:
        kind: name of the `shard` op.
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
        peak_memory_bytes: the most that is alive at once, arguments and results included, in program order.
    """

    collectives: dict[str, dict[str, Any]] = field(default_factory=dict)
    flops: float = 0.0
    compute_time_s: float = 0.0
    communication_time_s: float = 0.0
    peak_memory_bytes: int = 0

    @property
    def step_time_s(self) -> float:
        """Seconds of the program, without overlap of communication and computation."""
        return self.compute_time_s + self.communication_time_s


def bytes_of(value: ir.Value) -> int:
    """Bytes of a tensor value on a device; 0 for a scalar."""
    if not is_tensor(value):
        return 0
    total = ELEMENT_BYTES.get(element_of(value), 4)
    for extent in shape_of(value):
        total *= extent
    return total


def collectives_of(function: ir.Operation, mesh: Mesh) -> Iterator[Collective]:
    """Every collective of a per-device program that moves data, in order."""
    for view in function.regions[0].blocks[0].operations:
        op = view.operation
        dialect, _, kind = op.name.partition(".")
        if dialect == "shard" and kind in COUNTED:
            axes = tuple(mesh.axes[int(number)] for number in op.attributes["grid_axes"])
            yield Collective(kind, axes, max(bytes_of(op.operands[0]), bytes_of(op.results[0])), op)


def promise(function: ir.Operation, mesh: Mesh, cost: CostModel) -> Promise:
    """Predict a per-device program."""
    made = Promise()
    for collective in collectives_of(function, mesh):
        entry = made.collectives.setdefault(collective.kind, {"count": 0, "bytes": 0, "by_axis": {}})
        along = entry["by_axis"].setdefault(",".join(collective.axes), {"count": 0, "bytes": 0})
        for counter in (entry, along):
            counter["count"] += 1
            counter["bytes"] += collective.bytes
        made.communication_time_s += cost.collective(collective.kind, collective.axes, collective.bytes)
    for view in function.regions[0].blocks[0].operations:
        op = view.operation
        if op.name in _FREE or is_view(op) or op.name.startswith("shard."):
            continue
        flops = Structured(op).flops if op.name == "linalg.generic" else 0.0
        made.flops += flops
        touched = sum(bytes_of(value) for value in [*tensor_operands(op), *op.results])
        made.compute_time_s += cost.kernel(_element(op), flops, touched)
    made.peak_memory_bytes = peak_memory(function)
    return made


def is_view(op: ir.Operation) -> bool:
    """Whether the result of an op is bytes of its operand, in their order: a reshape, or a slice in one stretch."""
    if op.name != "tensor.extract_slice":
        return op.name in VIEWS
    shape, sizes = shape_of(op.operands[0]), list(op.attributes["static_sizes"])
    cut = next((dim for dim, size in enumerate(sizes) if size != 1), len(sizes))
    unit = all(stride == 1 for stride in op.attributes["static_strides"])
    return unit and len(op.operands) == 1 and sizes[cut + 1 :] == list(shape)[cut + 1 :]


def _element(op: ir.Operation) -> str:
    """The element type that an op computes in."""
    inputs = list(op.operands)[: len(op.operands) - len(op.results)] if op.name == "linalg.generic" else op.operands
    return computing_element(
        [element_of(value) for value in inputs if is_tensor(value)], [element_of(result) for result in op.results]
    )


def memory_warning(promised: Promise, machine: Machine, model: str) -> Diagnostic | None:
    """What to say where a device's program does not fit its memory; None where it fits."""
    peak, limit = promised.peak_memory_bytes, machine.device.memory_bytes
    if peak <= limit:
        return None
    message = (
        f"the predicted peak memory of {peak} bytes ({size(peak)}) a device is more than the {limit} bytes "
        f"({size(limit)}) of machine {machine.name!r}"
    )
    hint = "shard more of the parameters and inputs, or take more devices or a machine with more memory"
    return Diagnostic(Severity.WARNING, message, SourceLocation(scope=model), hint=hint)


def peak_memory(function: ir.Operation) -> int:
    """Bytes alive at the worst point, when ops run in order and a value dies after its last use.

    Arguments are alive throughout; a reshape shares its operand's bytes; an empty tensor takes none of its own, since
    the op that it initializes writes its result there.
    """
    block = function.regions[0].blocks[0]
    operations = [view.operation for view in block.operations]
    roots: dict[ir.Value, ir.Value] = {}

    def root(value: ir.Value) -> ir.Value:
        return roots.get(value, value)

    last: dict[ir.Value, int] = {}
    for number, op in enumerate(operations):
        if is_view(op):
            roots[op.results[0]] = root(op.operands[0])
        for value in tensor_operands(op):
            last[root(value)] = number
    always = sum(bytes_of(argument) for argument in block.arguments)
    dying: dict[int, list[ir.Value]] = {}
    for value, number in last.items():
        if not isinstance(value, ir.BlockArgument) and value.owner.name != "tensor.empty":
            dying.setdefault(number, []).append(value)
    alive = peak = 0
    for number, op in enumerate(operations):
        if op.name != "tensor.empty" and not is_view(op):
            made = sum(bytes_of(result) for result in op.results)
            alive += made
            peak = max(peak, alive)
            alive -= sum(bytes_of(result) for result in op.results if result not in last)
        alive -= sum(bytes_of(value) for value in dying.get(number, []))
    return always + peak
