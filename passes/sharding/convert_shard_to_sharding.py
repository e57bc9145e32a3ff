"""The pass `jogak-convert-shard-to-sharding`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir

from jogak.ir.grid import require_mesh
from jogak.ir.module import main_function
from jogak.plugin import Pass
from jogak.registry import active_registry
from jogak.sharding.reading import read_graph
from jogak.sharding.upstream import take_shardings, write_shardings


@dataclass(frozen=True)
class ConvertShardToSharding(Pass):
    """Read the shardings of a program in MLIR's `shard` dialect: the reverse of `jogak-convert-sharding-to-shard`.

    Before: `shard.grid`, and `shard.shard` on some or all tensors. Axes without names are `axis0`, `axis1`, …

    After: the `shard.shard` ops are gone. Where every argument and result of an op had one, `jogak.sharding` says the
    same, as after propagation; otherwise `jogak.constraint` does where there was one, for `jogak-propagate` or
    `jogak-search` to complete.

    Options: none.

    Failure: no grid; a sharding with halos or uneven pieces of its own.

    Example:
        ```mlir before
        shard.grid @mesh(shape = 2) {jogak.axes = ["data"]}
        func.func @main(%arg0: tensor<8xf32>) -> tensor<8xf32> {
          %s = shard.sharding @mesh split_axes = [[0]] : !shard.sharding
          %0 = shard.shard %arg0 to %s : tensor<8xf32>
          %1 = shard.shard %0 to %s annotate_for_users : tensor<8xf32>
          return %1 : tensor<8xf32>
        }
        ```
        ```mlir after
        func.func @main(%arg0: tensor<8xf32> {jogak.sharding = "[data]"})
        ```
    """

    name: ClassVar[str] = "jogak-convert-shard-to-sharding"

    def run(self, module: ir.Module) -> None:
        mesh = require_mesh(module)
        function = main_function(module).operation
        found = take_shardings(function, mesh)
        write_shardings(function, read_graph(function, active_registry().rules()), found, mesh)
