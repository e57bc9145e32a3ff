"""What the compiler promises of a per-device program before it runs: collectives, arithmetic, time and peak memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch_mlir import ir

from jogak.cost.clock import Work, run_clock
from jogak.cost.machine import Machine
from jogak.cost.model import CostModel
from jogak.ir.diagnostics import Diagnostic, Severity, SourceLocation
from jogak.ir.structured import region_values
from jogak.memory.attributes import ARENA
from jogak.memory.reading import read_tape
from jogak.memory.tape import lay_out
from jogak.partition.prices import Prices, as_collective, collectives_of, seconds_of
from jogak.sharding.mesh import Mesh
from jogak.text import size


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
    prices = Prices(cost)
    works = list(_works(function, prices))
    made.compute_time_s = sum(work.seconds for work in works if not work.moves)
    made.flops = sum(prices.flops(view.operation) for view in function.regions[0].blocks[0].operations)
    made.step_time_s = _step(works, cost)
    made.peak_memory_bytes = peak_memory(function)
    return made


def step_seconds(function: ir.Operation, prices: Prices) -> float:
    """Seconds of a step, without the rest of what is promised."""
    return _step(list(_works(function, prices)), prices.cost)


def _step(works: Sequence[Work], cost: CostModel) -> float:
    return run_clock(works) if cost.machine.overlap else sum(work.seconds for work in works)


def _works(function: ir.Operation, prices: Prices) -> Iterator[Work]:
    """The program as work for the clock, an entry for each op; what takes no time passes on what it needs."""
    maker: dict[ir.Value, int] = {}
    for number, view in enumerate(function.regions[0].blocks[0].operations):
        op = view.operation
        read = [*op.operands, *region_values(op)]
        needs = tuple(dict.fromkeys(maker[value] for value in read if value in maker))
        maker |= dict.fromkeys(op.results, number)
        yield Work(prices.seconds(op), needs, as_collective(op, prices.cost.mesh) is not None)


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
