"""The pass `jogak-partition`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir

from jogak.cost.machine_file import DEFAULT_MACHINE, load_machine
from jogak.cost.model import ROOFLINE, cost_model
from jogak.ir.grid import declare_mesh, find_mesh, require_mesh
from jogak.ir.module import main_function
from jogak.partition.partition import partition
from jogak.plugin import Pass
from jogak.registry import active_registry
from jogak.sharding.mesh import Mesh


@dataclass(frozen=True)
class Partition(Pass):
    """Rewrite the annotated whole program to the program of one device.

    Before: a mesh, and `jogak.sharding` on every argument and op (`jogak-propagate` writes them).

    After: local shapes, and upstream `shard` collectives wherever data moves; each carries in `jogak.cause` why it is
    there. The results of all devices together equal the whole program's.

    Options:
        mesh: declares this mesh when the module has none.
        machine: preset or machine file whose links and devices decide between equivalent collectives.
        cost-model: what prices them.

    Failure: an op without a sharding, or with one that does not fit its result or the mesh.

    Example:
        ```mlir before
        shard.grid @mesh(shape = 2) {jogak.axes = ["data"]}
        func.func @main(%arg0: tensor<8x4xf32> {jogak.sharding = "[data, _]"}) -> tensor<8x4xf32> {
          %0 = tensor.empty() : tensor<8x4xf32>
          %1 = linalg.generic {
            indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>],
            iterator_types = ["parallel", "parallel"]
          } ins(%arg0 : tensor<8x4xf32>) outs(%0 : tensor<8x4xf32>) attrs = {jogak.sharding = ["[data, _]"]} {
          ^bb0(%in: f32, %out: f32):
            %2 = arith.addf %in, %in : f32
            linalg.yield %2 : f32
          } -> tensor<8x4xf32>
          return %1 : tensor<8x4xf32>
        }
        ```
        ```mlir after
        func.func @main(%arg0: tensor<4x4xf32>
        ```
    """

    name: ClassVar[str] = "jogak-partition"
    mesh: str = ""
    machine: str = DEFAULT_MACHINE
    cost_model: str = ROOFLINE

    def run(self, module: ir.Module) -> None:
        if self.mesh and find_mesh(module) is None:
            declare_mesh(module, Mesh.parse(self.mesh))
        mesh = require_mesh(module)
        registry = active_registry()
        cost = cost_model(self.cost_model, load_machine(self.machine), mesh, registry)
        partition(module, main_function(module).operation, mesh, registry.rules(), cost)
