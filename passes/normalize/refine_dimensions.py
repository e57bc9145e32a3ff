"""The pass `jogak-refine-dimensions`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.diagnostics import remark
from jogak.ir.rewrite.build import functions
from jogak.ir.rewrite.dimensions import read_dimensions
from jogak.ir.rewrite.projections import expose
from jogak.ir.rewrite.refine import refine
from jogak.plugin import Pass

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class RefineDimensions(Pass):
    """Make every dimension that the program takes apart a dimension of its own, so that reshapes disappear.

    Dimensions of all values that must be split alike are found by union over the indexing maps; reshapes and slices cut
    them into pieces (`768` into `12 x 64` heads), and every op is rewritten in place to the pieces: loops of batch,
    heads and head size appear in the maps, unit dimensions and loops of one iteration (1x1 convolutions) vanish. The
    ops that only feed updates of parameters keep the parameters' own shapes.

    A fused projection is exposed on the argument itself: a parameter whose dimension is taken apart into equal slices
    (one weight for q, k and v) gets the number of pieces as a dimension (`[192, 64]` becomes `[3, 64, 64]`), and with
    it its optimizer state and updates. Such an argument carries `jogak.logical_shape`, the shape it had: its values
    are the same in row-major order.

    Pieces of different sizes (grouped-query attention) are stored as shares: `[8, 64]` of which slices take 4, 2 and 2
    rows becomes `[2, 4, 64]`, two shares of 2, 1 and 1 rows, so that the shares can be split and each piece is a slice
    of the other dimension. There are as many shares as no reshape of a piece takes apart (key-value heads). Such an
    argument, its bias and its optimizer state carry `jogak.shares` too, which says how their values are reordered.

    Before: linalg ops in generic form, fills and splat constants recognized (`jogak-recognize-fills`), static shapes.

    After: a reshape remains only where two cuts contradict each other, around ops that are not linalg, and at the
    interface of `@main`.

    Options: `expose-projections` (true): whether arguments may change their shapes.

    Failure: none. A parameter that is taken apart into unequal pieces with nothing in common (a single key-value head),
    or whose rows something counts, keeps its shape, with a remark.

    Example:
        ```mlir before
        func.func @main(%arg0: tensor<8x2xf32> {jogak.role = "parameter"}) -> (tensor<4x2xf32>, tensor<4x2xf32>) {
          %0 = tensor.extract_slice %arg0[0, 0] [4, 2] [1, 1] : tensor<8x2xf32> to tensor<4x2xf32>
          %1 = tensor.extract_slice %arg0[4, 0] [4, 2] [1, 1] : tensor<8x2xf32> to tensor<4x2xf32>
          return %0, %1 : tensor<4x2xf32>, tensor<4x2xf32>
        }
        ```
        ```mlir after
        tensor.extract_slice %arg0[0, 0, 0] [1, 4, 2] [1, 1, 1] : tensor<2x4x2xf32> to tensor<4x2xf32>
        tensor.extract_slice %arg0[1, 0, 0] [1, 4, 2] [1, 1, 1] : tensor<2x4x2xf32> to tensor<4x2xf32>
        ```
    """

    name: ClassVar[str] = "jogak-refine-dimensions"

    expose_projections: bool = True

    def run(self, module: ir.Module) -> None:
        for function in functions(module):
            dims = read_dimensions(function)
            if self.expose_projections:
                for case in expose(function, dims):
                    sizes = ", ".join(map(str, case.sizes))
                    text = f"{case.name!r} is taken apart into unequal pieces ({sizes}) and keeps its shape"
                    remark(case.slices, text)
            dims.freeze_flat()
            dims.factors.propagate()
            refine(function, dims)
