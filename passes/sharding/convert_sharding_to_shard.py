"""The pass `jogak-convert-sharding-to-shard`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir

from jogak.cost.machine_file import DEFAULT_MACHINE, load_machine
from jogak.cost.model import ROOFLINE, cost_model
from jogak.ir.grid import require_mesh
from jogak.ir.module import main_function
from jogak.plugin import Pass
from jogak.registry import active_registry
from jogak.sharding.annotation import read_shardings
from jogak.sharding.reading import read_graph
from jogak.sharding.upstream import ToUpstream


@dataclass(frozen=True)
class ConvertShardingToShard(Pass):
    """Write an annotated program as ops of MLIR's `shard` dialect, for passes that are not Jogak's.

    Before: a mesh, and `jogak.sharding` on every argument and op (`jogak-propagate` or `jogak-search` writes them).

    After: every tensor goes through `shard.shard` where it is made and, with `annotate_for_users`, in front of every
    use; how an op wants its operands is what `jogak-partition` would choose. No attribute of ours says anything about
    shardings any more. A partial result is written as what it is once it is combined, since the dialect has no word
    for it. MLIR's `shard-partition` can go on from here where it knows the ops and the axes divide the sizes.

    Options:
        machine: preset or machine file that decides between equivalent operand shardings.
        cost-model: what prices them.

    Failure: no mesh; an op without a sharding, or with one that does not fit.

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
            %2 = math.exp %in : f32
            linalg.yield %2 : f32
          } -> tensor<8x4xf32>
          return %1 : tensor<8x4xf32>
        }
        ```
        ```mlir after
        %sharding_annotated = shard.shard %arg0 to %sharding : tensor<8x4xf32>
        ```
    """

    name: ClassVar[str] = "jogak-convert-sharding-to-shard"
    machine: str = DEFAULT_MACHINE
    cost_model: str = ROOFLINE

    def run(self, module: ir.Module) -> None:
        mesh = require_mesh(module)
        function = main_function(module).operation
        registry = active_registry()
        cost = cost_model(self.cost_model, load_machine(self.machine), mesh, registry)
        reading = read_graph(function, registry.rules())
        shardings = read_shardings(function, reading, mesh)
        with module.context:
            ToUpstream(function, reading, shardings, mesh, cost).run()
