"""The pass `jogak-isolate-gathers`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.rewrite.build import functions
from jogak.ir.rewrite.gathers import isolate_gathers
from jogak.plugin import Pass

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class IsolateGathers(Pass):
    """Bring every `tensor.extract` with computed indices into a `linalg.generic` that yields it and does nothing else.

    Before: captured tensors are read only by `tensor.extract` in the body of a `linalg.generic`.

    After: every gather has the form `out[loops] = table[f(indices[loops]), loops...]`: the indices are computed from
    its own operands, the table is a captured value, and what was computed around it takes the result as an operand. A
    gather whose indices are just loops is an ordinary read of the table, sliced where the loops are shorter: position
    embeddings are plain operands.

    Options: none.

    Failure: none.

    Example:
        ```mlir before
        func.func @main(%arg0: tensor<6x8xf32>) -> tensor<4x8xf32> {
          %0 = tensor.empty() : tensor<4x8xf32>
          %1 = linalg.generic {
            indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]
          } outs(%0 : tensor<4x8xf32>) {
          ^bb0(%out: f32):
            %2 = linalg.index 0 : index
            %3 = linalg.index 1 : index
            %4 = tensor.extract %arg0[%2, %3] : tensor<6x8xf32>
            linalg.yield %4 : f32
          } -> tensor<4x8xf32>
          return %1 : tensor<4x8xf32>
        }
        ```
        ```mlir after
        tensor.extract_slice %arg0[0, 0] [4, 8] [1, 1] : tensor<6x8xf32> to tensor<4x8xf32>
        ```
    """

    name: ClassVar[str] = "jogak-isolate-gathers"

    def run(self, module: ir.Module) -> None:
        for function in functions(module):
            isolate_gathers(function)
