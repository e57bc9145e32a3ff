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

    A `linalg.generic` that yields one scalar everywhere becomes a `linalg.fill`; a reshaped, sliced or transposed fill,
    splat constant or `tensor.empty` becomes one of the new shape. Later passes can then give each use of it the shape
    that suits it, and values do not hang together only because they start from the same zeros.

    ```mlir
    %z = linalg.fill ins(%c0 : f32) outs(%e : tensor<16xf32>) -> tensor<16xf32>
    %x = tensor.expand_shape %z [[0, 1]] output_shape [4, 4] : tensor<16xf32> into tensor<4x4xf32>
    // becomes
    %x = linalg.fill ins(%c0 : f32) outs(%f : tensor<4x4xf32>) -> tensor<4x4xf32>
    ```
    """

    name: ClassVar[str] = "jogak-recognize-fills"

    def run(self, module: ir.Module) -> None:
        for function in functions(module):
            recognize_splats(function)
