"""The pass `jogak-mark-recomputation`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.rewrite.build import functions
from jogak.partition.optimize.recomputation import mark_recomputation
from jogak.plugin import Pass

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class MarkRecomputation(Pass):
    """Make attributes of the barriers behind which a checkpointed region is computed again.

    Before: the program of one device, optimized.

    After: no `util.optimization_barrier`. What read one carries `jogak.recompute_of` and a `jogak.recompute` that no
    other op has, like what rematerialization does again: CSE leaves it alone, and targets keep their compilers from
    merging it.

    Options: none.

    Failure: none.

    Example:
        ```mlir before
        func.func @main(%arg0: tensor<4xf32>) -> tensor<4xf32> {
          %0 = "util.optimization_barrier"(%arg0) : (tensor<4xf32>) -> tensor<4xf32>
          %1 = tensor.empty() : tensor<4xf32>
          %2 = linalg.generic {
            indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]
          } ins(%0 : tensor<4xf32>) outs(%1 : tensor<4xf32>) {
          ^bb0(%in: f32, %out: f32):
            %3 = math.exp %in : f32
            linalg.yield %3 : f32
          } -> tensor<4xf32>
          return %2 : tensor<4xf32>
        }
        ```
        ```mlir after
        jogak.recompute = -1 : i64
        ```
    """

    name: ClassVar[str] = "jogak-mark-recomputation"

    def run(self, module: ir.Module) -> None:
        for function in functions(module):
            mark_recomputation(function)
