"""The pass `jogak-rematerialize`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch_mlir import ir

from jogak.cost.machine_file import DEFAULT_MACHINE, load_machine
from jogak.cost.model import ROOFLINE, cost_model
from jogak.ir.diagnostics import remark
from jogak.ir.grid import find_mesh
from jogak.ir.rewrite.build import functions
from jogak.memory.emit import emit_sequence, sink_constants
from jogak.memory.limits import budget_of, does_not_fit
from jogak.memory.offsets import place, tightened, write_offsets
from jogak.memory.reading import Seconds, read_tape
from jogak.partition.prices import Prices
from jogak.plugin import Pass
from jogak.registry import active_registry
from jogak.sharding.mesh import Mesh

if TYPE_CHECKING:
    from jogak.memory.fit import Fit


@dataclass(frozen=True)
class Rematerialize(Pass):
    """Compute values again instead of keeping them, until a per-device program fits its memory.

    Anything may be done again, collectives too (a weight is gathered again in the backward pass), but for transfers
    between two devices. Time is that of the cost model. What is done again stands right before its next reader.

    Layers that are alike get one plan, found on a few of them, so that deep programs take no longer than shallow ones.
    A remark tells how many share it. Short programs are also planned step by step, and the cheaper plan is taken.

    Where an elementwise op holds the plan up because it reads many tensors at once (a sum that fusion made of many), it
    becomes a chain of ops that read two: the arithmetic and its order stay. Where collectives wait for each other in a
    bucket that holds much of the memory, the large ones are done alone if the program then takes less time, the latency
    included; a remark tells that.

    Before: the program of one device.

    After: the arena of the program, fragmentation included, is within the budget. Ops that are done again carry
    `jogak.recompute_of`, which says what they repeat, and `jogak.recompute`, a number of their own; a target must put
    an optimization barrier in front of their operands, so that no later CSE merges them back. A program that fits
    stays as it is, but for constants, which move in front of their first reader; one that fits in another order is only
    reordered. The offsets that prove the fit are written as `jogak-plan-memory` does, which keeps them.

    Options:
        memory: the budget of a device: `auto` (the machine's memory), bytes (`16GiB`), a share of the present peak
            (`0.5x`) or `min`, the lowest that is found.
        machine: preset or machine file: its memory, and what prices ops.
        cost-model: what prices them.
        time-limit: seconds of CPU for the search; the result does not depend on it unless it runs out.

    Failure: nothing that was found fits; the error lists what is alive at the worst point. Under `auto` the program
    stays as low as was found, or as it was where nothing can fit; the driver warns.

    Example:
        ```mlir before
        func.func @main(%x: tensor<16xf32>, %y: tensor<16xf32>) -> tensor<32xf32> {
          %c = tensor.concat dim(0) %x, %y : (tensor<16xf32>, tensor<16xf32>) -> tensor<32xf32>
          return %c : tensor<32xf32>
        }
        ```
        ```mlir after
        tensor.concat
        ```
    """

    name: ClassVar[str] = "jogak-rematerialize"
    memory: str = "auto"
    machine: str = DEFAULT_MACHINE
    cost_model: str = ROOFLINE
    time_limit: float = 20.0

    def run(self, module: ir.Module) -> None:
        machine = load_machine(self.machine)
        mesh = find_mesh(module) or Mesh(("device",), (1,))
        cost = cost_model(self.cost_model, machine, mesh, active_registry())
        for function in functions(module):
            self._fit(function, mesh, machine.device.memory_bytes, Prices(cost).seconds)

    def _fit(self, function: ir.Operation, mesh: Mesh, machine_bytes: int, seconds: Seconds) -> None:
        from jogak.memory.fit import fit, fit_least  # its solvers take a second to load
        from jogak.memory.split import fit_split, least_need

        sink_constants(function)
        reading = read_tape(function, seconds)
        if self.memory == "min":
            reading, found = fit_split(
                function, reading, lambda t, limit: fit_least(t, time_limit=limit), self.time_limit, least=True
            )
        else:
            budget = budget_of(self.memory, machine_bytes, lambda: place(reading.tape).arena)
            if self.memory == "auto" and least_need(reading) > budget:
                return  # nothing fits: the driver tells by how much
            reading, found = fit_split(
                function, reading, lambda t, limit: fit(t, budget, time_limit=limit), self.time_limit
            )
            if not found.fits and self.memory != "auto":
                does_not_fit(function, reading, found, dict(zip(mesh.axes, mesh.shape, strict=True)))
        if found.unbucketed:
            text = f"{found.unbucketed} buckets of collectives are taken apart to fit {found.budget} bytes"
            remark(function, f"{text}: {found.latency_seconds:.2e} s more")
        placed, made = tightened(reading.tape, found.sequence, found.placement), reading.ops
        if list(found.sequence) != list(range(len(reading.tape.steps))):
            made = emit_sequence(function, reading, found.sequence)
            clones = len(made) - len(reading.ops)
            if clones:
                _tell(reading.ops[Counter(found.sequence).most_common(1)[0][0]], clones, found)
        write_offsets(function, reading, placed, made, found.sequence)


def _tell(first: ir.Operation, clones: int, found: Fit) -> None:
    how = f"{found.layers} layers share one plan" if found.layers > 1 else "no two layers share a plan"
    remark(first, f"this and more, {clones} in all, computed again to fit {found.budget} bytes; {how}")
