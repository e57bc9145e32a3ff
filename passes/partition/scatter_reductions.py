"""The pass `jogak-scatter-reductions`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.rewrite.build import functions
from jogak.partition.optimize.scattering import scatter_reductions
from jogak.plugin import Pass

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class ScatterReductions(Pass):
    """Replace a collective whose result is used in part only, or taken back, by a cheaper one or by nothing.

    Before: the program of one device.

    After: no all-reduce that is only sliced along its axes (a reduce-scatter), no slice of a gather along the same axes
    (nothing, or an all-to-all), no gather of a slice (nothing), no second reduction to a maximum, minimum or logical
    value along the same axes (nothing).

    Options: none.

    Failure: none.

    Example:
        ```mlir before
        shard.grid @mesh(shape = 2)
        func.func @main(%arg0: tensor<4xf32>) -> tensor<2xf32> {
          %0 = shard.all_reduce %arg0 on @mesh grid_axes = [0] : tensor<4xf32> -> tensor<4xf32>
          %1 = shard.all_slice %0 on @mesh grid_axes = [0] slice_axis = 0 : tensor<4xf32> -> tensor<2xf32>
          return %1 : tensor<2xf32>
        }
        ```
        ```mlir after
        shard.reduce_scatter %arg0 on @mesh grid_axes = [0] scatter_dim = 0
        ```
    """

    name: ClassVar[str] = "jogak-scatter-reductions"

    def run(self, module: ir.Module) -> None:
        for function in functions(module):
            scatter_reductions(function)
