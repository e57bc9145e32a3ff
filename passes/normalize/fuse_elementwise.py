"""The pass `jogak-fuse-elementwise`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.rewrite.build import functions
from jogak.ir.rewrite.fusion import fuse_elementwise
from jogak.plugin import Pass

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class FuseElementwise(Pass):
    """Fuse elementwise producers into their consumers, so that few `linalg.generic` ops remain.

    A producer with parallel loops and one result is fused

    - always, when it only moves data or computes indices: transposes, broadcasts and iotas become indexing maps, and a
      fill becomes a scalar;
    - into every elementwise consumer or reduction, when it compares an index, computes little else, and all that it
      reads is smaller than its result, as the mask of each target's class is;
    - when every use of it is in the consumer and the consumer is elementwise, or a reduction that reads each element
      once (sum, mean, maximum). It is never fused into a contraction or convolution, which would compute it for every
      output again and would no longer look like one.

    A producer with a `jogak.constraint` stays.

    Before: linalg ops in generic form, fills and splat constants recognized (`jogak-recognize-fills`).

    After: no producer is left that could be fused. Gathers take in only the computation of their indices. Fused ops
    keep the location of the consumer, and the ops in their bodies keep their own.

    Options: none.

    Failure: none.

    Example:
        ```mlir before
        func.func @main(%arg0: tensor<8x4xf32>) -> tensor<4x8xf32> {
          %0 = tensor.empty() : tensor<4x8xf32>
          %1 = linalg.generic {
            indexing_maps = [affine_map<(d0, d1) -> (d1, d0)>, affine_map<(d0, d1) -> (d0, d1)>],
            iterator_types = ["parallel", "parallel"]
          } ins(%arg0 : tensor<8x4xf32>) outs(%0 : tensor<4x8xf32>) {
          ^bb0(%in: f32, %out: f32):
            linalg.yield %in : f32
          } -> tensor<4x8xf32>
          %2 = linalg.generic {
            indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>],
            iterator_types = ["parallel", "parallel"]
          } ins(%1 : tensor<4x8xf32>) outs(%0 : tensor<4x8xf32>) {
          ^bb0(%in: f32, %out: f32):
            %3 = math.exp %in : f32
            linalg.yield %3 : f32
          } -> tensor<4x8xf32>
          return %2 : tensor<4x8xf32>
        }
        ```
        ```mlir after
        ins(%arg0 : tensor<8x4xf32>) outs(%0 : tensor<4x8xf32>) {
        %2 = math.exp %in : f32
        ```
    """

    name: ClassVar[str] = "jogak-fuse-elementwise"

    def run(self, module: ir.Module) -> None:
        for function in functions(module):
            fuse_elementwise(function)
