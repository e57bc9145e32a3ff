"""What a sharding plan takes after partition and rematerialization."""

from __future__ import annotations

from collections.abc import Callable

from torch_mlir import ir

from jogak.autoshard.joint import Measured
from jogak.cost.model import CostModel
from jogak.ir.grid import require_mesh
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.memory.emit import emit_sequence
from jogak.memory.fit import fit
from jogak.memory.offsets import place
from jogak.memory.reading import read_tape
from jogak.memory.split import fit_split
from jogak.partition.prices import op_seconds
from jogak.registry import Registry
from jogak.report.promise import promise
from jogak.sharding.mesh import Mesh

_SECONDS = 2.0
"""Search of recomputation for a plan that may not be taken."""
_IMPROVE = 10


def realize(
    module: ir.Module, priced: Callable[[Mesh], CostModel], limit: int, pipeline: str, registry: Registry
) -> Measured:
    """Partition an annotated program and make it fit, in place.

    Steps are timed by the clock of the promise, before and after: collectives may hide what is computed again.

    Args:
        priced: the prices of its ops on its mesh, which partition may take apart further.
        limit: bytes of a device.
        pipeline: partitions it.
    """
    run_pipeline(module, pipeline, registry=registry)
    function = main_function(module).operation
    cost = priced(require_mesh(module))
    reading = read_tape(function, lambda op: op_seconds(op, cost.mesh, cost))
    peak, step = place(reading.tape).arena, promise(function, cost.mesh, cost).step_time_s
    with function.context:
        reading, plan = fit_split(function, reading, lambda t: fit(t, limit, time_limit=_SECONDS, improve=_IMPROVE))
        emit_sequence(function, reading, plan.sequence)
    return Measured(step, promise(function, cost.mesh, cost).step_time_s - step, peak, plan.fits)
