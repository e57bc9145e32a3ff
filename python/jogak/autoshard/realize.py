"""What a sharding plan takes after partition and rematerialization."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch_mlir import ir

from jogak.autoshard.joint import Measured
from jogak.cost.model import CostModel
from jogak.ir.diagnostics import Diagnostic
from jogak.ir.grid import require_mesh
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.memory.emit import emit_sequence
from jogak.memory.fit import fit
from jogak.memory.offsets import place
from jogak.memory.reading import read_tape
from jogak.memory.split import fit_split
from jogak.partition.prices import Prices
from jogak.registry import Registry
from jogak.report.promise import step_seconds
from jogak.sharding.mesh import Mesh

_SECONDS = 2.0
"""Search of recomputation for a plan that may not be taken."""
_IMPROVE = 10


class Partitioned(NamedTuple):
    """A plan behind the partition phase.

    Attributes:
        module: the program of one device.
        diagnostics: what the phase told.
    """

    module: ir.Module
    diagnostics: Sequence[Diagnostic]


def realize(
    module: ir.Module, priced: Callable[[Mesh], CostModel], limit: int, pipeline: str, registry: Registry
) -> tuple[Measured, Partitioned]:
    """Partition an annotated program and make it fit, in place.

    Steps are timed by the clock of the promise, before and after: collectives may hide what is computed again.

    Args:
        priced: the prices of its ops on its mesh, which partition may take apart further.
        limit: bytes of a device.
        pipeline: partitions it.

    Returns:
        how long it takes, and the program as it was before it was made to fit.
    """
    told = run_pipeline(module, pipeline, registry=registry).diagnostics
    partitioned = Partitioned(module.operation.clone(), told)
    function = main_function(module).operation
    cost = priced(require_mesh(module))
    prices = Prices(cost)
    reading = read_tape(function, prices.seconds)
    peak, step = place(reading.tape).arena, step_seconds(function, prices)
    with function.context:
        reading, plan = fit_split(
            function, reading, lambda t, seconds: fit(t, limit, time_limit=seconds, improve=_IMPROVE), _SECONDS
        )
        emit_sequence(function, reading, plan.sequence)
    added = step_seconds(function, prices) - step
    return Measured(step, added, peak, plan.fits), partitioned
