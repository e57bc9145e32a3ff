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

    PyTorch cuts one dimension at a time, so a crop of an image is two slices. Slices with strides, dynamic bounds or
    dropped dimensions are left alone. What the first slice was for is dead if nothing else uses it; `canonicalize`
    removes it.

    ```mlir
    %a = tensor.extract_slice %x[1, 0] [2, 4] [1, 1] : tensor<4x4xf32> to tensor<2x4xf32>
    %b = tensor.extract_slice %a[0, 1] [2, 2] [1, 1] : tensor<2x4xf32> to tensor<2x2xf32>
    // becomes
    %b = tensor.extract_slice %x[1, 1] [2, 2] [1, 1] : tensor<4x4xf32> to tensor<2x2xf32>
    ```
    """

    name: ClassVar[str] = "jogak-merge-slices"

    def run(self, module: ir.Module) -> None:
        for function in functions(module):
            merge_slices(function)
