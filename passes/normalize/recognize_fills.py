"""The pass `jogak-recognize-fills`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.rewrite.build import functions
from jogak.ir.rewrite.splats import recognize_splats
from jogak.plugin import Pass

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class RecognizeFills(Pass):
    """Give every tensor that holds one scalar the form of a fill or a splat constant of its final shape.

    Later passes can then give each use of it the shape that suits it, and values do not hang together only because they
    start from the same zeros.

    Before: linalg ops in generic form (`linalg-generalize-named-ops`).

    After: a `linalg.generic` that yields one scalar everywhere is a `linalg.fill`; a reshaped, sliced or transposed
    fill, splat constant or `tensor.empty` is one of the new shape.

    Options: none.

    Failure: none.

    Example:
        ```mlir before
        func.func @main(%arg0: f32) -> tensor<4x4xf32> {
          %0 = tensor.empty() : tensor<16xf32>
          %1 = linalg.fill ins(%arg0 : f32) outs(%0 : tensor<16xf32>) -> tensor<16xf32>
          %2 = tensor.expand_shape %1 [[0, 1]] output_shape [4, 4] : tensor<16xf32> into tensor<4x4xf32>
          return %2 : tensor<4x4xf32>
        }
        ```
        ```mlir after
        %3 = linalg.fill ins(%arg0 : f32) outs(%2 : tensor<4x4xf32>) -> tensor<4x4xf32>
        return %3 : tensor<4x4xf32>
        ```
    """

    name: ClassVar[str] = "jogak-recognize-fills"

    def run(self, module: ir.Module) -> None:
        for function in functions(module):
            recognize_splats(function)
