"""The pass `jogak-merge-slices`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.rewrite.build import functions
from jogak.ir.rewrite.slices import merge_slices
from jogak.plugin import Pass

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class MergeSlices(Pass):
    """Take a slice of a slice from the whole value at once.

    PyTorch cuts one dimension at a time, so a crop of an image is two slices.

    Before: any module.

    After: no slice of a slice, except with strides, dynamic bounds or dropped dimensions. What the first slice was for
    is dead if nothing else uses it; `canonicalize` removes it.

    Options: none.

    Failure: none.

    Example:
        ```mlir before
        func.func @main(%arg0: tensor<4x4xf32>) -> tensor<2x2xf32> {
          %0 = tensor.extract_slice %arg0[1, 0] [2, 4] [1, 1] : tensor<4x4xf32> to tensor<2x4xf32>
          %1 = tensor.extract_slice %0[0, 1] [2, 2] [1, 1] : tensor<2x4xf32> to tensor<2x2xf32>
          return %1 : tensor<2x2xf32>
        }
        ```
        ```mlir after
        tensor.extract_slice %arg0[1, 1] [2, 2] [1, 1] : tensor<4x4xf32> to tensor<2x2xf32>
        ```
    """

    name: ClassVar[str] = "jogak-merge-slices"

    def run(self, module: ir.Module) -> None:
        for function in functions(module):
            merge_slices(function)
