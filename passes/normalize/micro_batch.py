"""The pass `jogak-micro-batch`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.microbatch.split import split_batch
from jogak.plugin import Pass
from jogak.registry import active_registry

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class MicroBatch(Pass):
    """Let a training step take its batch in parts, one after the other, and update once.

    Before: a training step in the form that normalization gives: arguments and results have roles, there is no mesh.

    After: `@main` has the same arguments and results, equal up to rounding. Its body holds the forward and backward
    pass of each micro-batch, one after the other, the sums of gradients, and the rest once. An op of a micro-batch says
    so: `jogak.micro_batch = array<i64: 2, 17>` is op 17 of the third. Row `r` of the batch belongs to micro-batch
    `r mod count`; where the program knows positions in the batch, a micro-batch is a stretch of it.

    Options:
        count: how many micro-batches; it must divide the batch.

    Failure: the program is no training step, or declares a mesh; the batch cannot be cut so; an op needs its neighbours
    along the batch. Where micro-batches meet before their ends (batch normalization) the memory of one is not free for
    the next, which is a warning.

    Example:
        ```mlir before
        #id = affine_map<(d0) -> (d0)>
        #sum = affine_map<(d0) -> ()>
        func.func @main(
            %w: tensor<f32> {jogak.name = "w", jogak.role = "parameter"},
            %x: tensor<8xf32> {jogak.name = "x", jogak.role = "input"})
            -> (tensor<f32> {jogak.name = "w", jogak.role = "update", jogak.updates = 0 : i64}) {
          %zero = arith.constant dense<0.0> : tensor<f32>
          %0 = linalg.generic {indexing_maps = [#id, #sum], iterator_types = ["reduction"]}
              ins(%x : tensor<8xf32>) outs(%zero : tensor<f32>) {
          ^bb0(%in: f32, %out: f32):
            %1 = arith.mulf %in, %in : f32
            %2 = arith.addf %out, %1 : f32
            linalg.yield %2 : f32
          } -> tensor<f32>
          return %0 : tensor<f32>
        }
        ```
        ```mlir after
        tensor<8xf32> into tensor<4x2xf32>
        jogak.micro_batch = array<i64: 1, 1>
        ```
    """

    name: ClassVar[str] = "jogak-micro-batch"
    count: int = 2

    def run(self, module: ir.Module) -> None:
        split_batch(module, self.count, active_registry().rules())
