"""The pass `jogak-drop-unused-results`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.module import main_function
from jogak.ir.rewrite.results import drop_unused_results
from jogak.plugin import Pass

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class DropUnusedResults(Pass):
    """Remove results of `linalg.generic` ops that nobody uses.

    The importer writes a maximum as a maximum with its index. The index makes the reduction one that partial results
    cannot be combined with, so the dimension could not be split; where the index is not used, it goes.

    Before: linalg ops in generic form.

    After: every result of a `linalg.generic` with several results is used, or needed by one that is.

    Options: none.

    Failure: none.

    Example:
        ```mlir before
        func.func @main(%arg0: tensor<8x4xf32>, %arg1: tensor<8xf32>, %arg2: tensor<8xi64>) -> tensor<8xf32> {
          %0:2 = linalg.generic {
            indexing_maps = [
              affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>, affine_map<(d0, d1) -> (d0)>
            ],
            iterator_types = ["parallel", "reduction"]
          } ins(%arg0 : tensor<8x4xf32>) outs(%arg1, %arg2 : tensor<8xf32>, tensor<8xi64>) {
          ^bb0(%in: f32, %max: f32, %at: i64):
            %1 = linalg.index 1 : index
            %2 = arith.index_cast %1 : index to i64
            %3 = arith.cmpf ogt, %in, %max : f32
            %4 = arith.maximumf %in, %max : f32
            %5 = arith.select %3, %2, %at : i64
            linalg.yield %4, %5 : f32, i64
          } -> (tensor<8xf32>, tensor<8xi64>)
          return %0#0 : tensor<8xf32>
        }
        ```
        ```mlir after
        outs(%arg1 : tensor<8xf32>)
        arith.maximumf
        } -> tensor<8xf32>
        ```
    """

    name: ClassVar[str] = "jogak-drop-unused-results"

    def run(self, module: ir.Module) -> None:
        drop_unused_results(main_function(module).regions[0].blocks[0])
