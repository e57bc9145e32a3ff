"""The pass `jogak-merge-reductions`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.rewrite.build import functions
from jogak.partition.optimize.merging import merge_reductions
from jogak.plugin import Pass

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class MergeReductions(Pass):
    """Add partial results before they are reduced, not after: two all-reduces become one.

    The gradient of a tied embedding is such a sum: a scatter from the lookup and a contraction from the classifier.

    Before: the program of one device.

    After: no elementwise op adds or subtracts two values, used nowhere else, that equal collectives made: reductions by
    sum, gathers or all-to-alls, with reshapes behind them. The sum is an op of its own in front of one collective. It
    is the same up to rounding.

    Options: none.

    Failure: none.

    Example:
        ```mlir before
        shard.grid @mesh(shape = 2)
        func.func @main(%arg0: tensor<4xf32>, %arg1: tensor<4xf32>) -> tensor<4xf32> {
          %0 = shard.all_reduce %arg0 on @mesh grid_axes = [0] : tensor<4xf32> -> tensor<4xf32>
          %1 = shard.all_reduce %arg1 on @mesh grid_axes = [0] : tensor<4xf32> -> tensor<4xf32>
          %2 = tensor.empty() : tensor<4xf32>
          %3 = linalg.generic {
            indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>],
            iterator_types = ["parallel"]
          } ins(%0, %1 : tensor<4xf32>, tensor<4xf32>) outs(%2 : tensor<4xf32>) {
          ^bb0(%in: f32, %in_0: f32, %out: f32):
            %4 = arith.addf %in, %in_0 : f32
            %5 = math.exp %4 : f32
            linalg.yield %5 : f32
          } -> tensor<4xf32>
          return %3 : tensor<4xf32>
        }
        ```
        ```mlir after
        ins(%arg0, %arg1 : tensor<4xf32>, tensor<4xf32>)
        ```
    """

    name: ClassVar[str] = "jogak-merge-reductions"

    def run(self, module: ir.Module) -> None:
        for function in functions(module):
            merge_reductions(function)
