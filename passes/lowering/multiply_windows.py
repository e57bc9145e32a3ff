"""The pass `jogak-multiply-windows`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.rewrite.build import functions
from jogak.ir.rewrite.im2col import multiply_matrices
from jogak.plugin import Pass

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class MultiplyWindows(Pass):
    """Turn convolutions, their gradients and strided 1x1 convolutions into matrix products of copied windows.

    A compiler that knows no convolution in the form of loops has good code for matrix products: IREE takes 8 to 20
    times as long for the loops of a weight's gradient. Only where neighbours in the result read neighbours in the data
    does it vectorize the loops themselves; those stay.

    Before: `linalg.generic` ops that add products of two tensors, one of them read at sums of loops. All functions of
    the module are rewritten.

    After: such an op is a copy of what the windows read into a matrix, `linalg.matmul` (`linalg.batch_matmul` where
    there are groups) with the op's body, and a copy of the result into its order of dimensions. A copy that would
    change nothing is left out.

    Options: none.

    Failure: none; an op of another form stays.

    Example:
        ```mlir before
        func.func @main(%x: tensor<2x3x9xf32>, %w: tensor<5x3x3xf32>, %y: tensor<2x5x4xf32>) -> tensor<2x5x4xf32> {
          %0 = linalg.generic {indexing_maps = [
            affine_map<(n, f, o, c, k) -> (n, c, o * 2 + k)>, affine_map<(n, f, o, c, k) -> (f, c, k)>,
            affine_map<(n, f, o, c, k) -> (n, f, o)>
          ], iterator_types = ["parallel", "parallel", "parallel", "reduction", "reduction"]}
              ins(%x, %w : tensor<2x3x9xf32>, tensor<5x3x3xf32>) outs(%y : tensor<2x5x4xf32>) {
          ^bb0(%a: f32, %b: f32, %c: f32):
            %1 = arith.mulf %a, %b : f32
            %2 = arith.addf %c, %1 : f32
            linalg.yield %2 : f32
          } -> tensor<2x5x4xf32>
          return %0 : tensor<2x5x4xf32>
        }
        ```
        ```mlir after
        linalg.matmul
        ```
    """

    name: ClassVar[str] = "jogak-multiply-windows"

    def run(self, module: ir.Module) -> None:
        for function in functions(module):
            multiply_matrices(function)
