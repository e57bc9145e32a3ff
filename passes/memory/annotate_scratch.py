"""The pass `jogak-annotate-scratch`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.module import main_function
from jogak.memory.scratch import annotate_scratch
from jogak.plugin import Pass
from jogak.registry import active_registry

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class AnnotateScratch(Pass):
    """Write on every op the bytes that a target takes beside its operands and results while it runs.

    One op of the program is several calls of PyTorch, and what lies between them is memory: the exponentials of a
    softmax before they are summed, the copy of a collective's buffer. The target says what it allocates; what is more
    than the memory model counts for the op becomes its scratch, which `jogak-rematerialize` and `jogak-plan-memory`
    hold while the op runs.

    Before: the program of one device.

    After: `jogak.scratch` (bytes) on ops that take some. Otherwise the program is as it was.

    Options:
        target: whose memory it is.

    Failure: there is no such target.

    Example:
        ```mlir before
        #row = affine_map<(d0, d1) -> (d0)>
        #all = affine_map<(d0, d1) -> (d0, d1)>
        func.func @main(%x: tensor<4x64xf32>) -> tensor<4xf32> {
          %zero = arith.constant 0.0 : f32
          %e = tensor.empty() : tensor<4xf32>
          %init = linalg.fill ins(%zero : f32) outs(%e : tensor<4xf32>) -> tensor<4xf32>
          %s = linalg.generic {indexing_maps = [#all, #row], iterator_types = ["parallel", "reduction"]}
              ins(%x : tensor<4x64xf32>) outs(%init : tensor<4xf32>) {
          ^bb0(%in: f32, %out: f32):
            %0 = math.exp %in : f32
            %1 = arith.addf %out, %0 : f32
            linalg.yield %1 : f32
          } -> tensor<4xf32>
          return %s : tensor<4xf32>
        }
        ```
        ```mlir after
        jogak.scratch = 976 : i64
        ```
    """

    name: ClassVar[str] = "jogak-annotate-scratch"
    target: str = "torch"

    def run(self, module: ir.Module) -> None:
        allocated = active_registry().target(self.target).allocations(module)
        annotate_scratch(main_function(module).operation, allocated)
