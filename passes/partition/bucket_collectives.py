"""The pass `jogak-bucket-collectives`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir

from jogak.cost.machine_file import DEFAULT_MACHINE, load_machine
from jogak.cost.model import ROOFLINE, cost_model
from jogak.ir.grid import require_mesh
from jogak.ir.rewrite.build import functions
from jogak.partition.optimize.bucketing import bucket_collectives
from jogak.plugin import Pass
from jogak.registry import active_registry


@dataclass(frozen=True)
class BucketCollectives(Pass):
    """Do small collectives that can wait for each other in one, on a buffer that holds them side by side.

    All-reduces, reduce-scatters and all-gathers of one kind, axes, combiner and element type wait until the first of
    their results is needed; reshapes and arithmetic on single numbers wait with them. It is done where the latency that
    it saves is more than the time of copying into the buffer and out of it, by the cost model of the machine.

    Before: the program of one device, with its mesh.

    After: as few collectives as that allows, each at the place of the last operand that it needs.

    Options:
        limit: the most bytes in one buffer.
        machine: preset or machine file whose links and devices price collectives and copies.
        cost-model: what prices them.

    Failure: the module declares no mesh.

    Example:
        ```mlir before
        shard.grid @mesh(shape = 2)
        func.func @main(%arg0: tensor<4xf32>, %arg1: tensor<2x3xf32>) -> (tensor<4xf32>, tensor<2x3xf32>) {
          %0 = shard.all_reduce %arg0 on @mesh grid_axes = [0] : tensor<4xf32> -> tensor<4xf32>
          %1 = shard.all_reduce %arg1 on @mesh grid_axes = [0] : tensor<2x3xf32> -> tensor<2x3xf32>
          return %0, %1 : tensor<4xf32>, tensor<2x3xf32>
        }
        ```
        ```mlir after
        on @mesh grid_axes = [0] {jogak.cause = "2 in one bucket"} : tensor<10xf32> -> tensor<10xf32>
        ```
    """

    name: ClassVar[str] = "jogak-bucket-collectives"
    limit: int = 25 * 2**20
    machine: str = DEFAULT_MACHINE
    cost_model: str = ROOFLINE

    def run(self, module: ir.Module) -> None:
        mesh = require_mesh(module)
        cost = cost_model(self.cost_model, load_machine(self.machine), mesh, active_registry())
        for function in functions(module):
            bucket_collectives(function, mesh, cost, self.limit)
