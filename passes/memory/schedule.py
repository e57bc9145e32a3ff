"""The pass `jogak-schedule`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.rewrite.build import functions
from jogak.memory.emit import emit_sequence
from jogak.memory.reading import read_tape
from jogak.plugin import Pass

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class Schedule(Pass):
    """Order the ops of a per-device program so that fewer bytes are alive at the worst point.

    List schedules that run what frees memory as soon as it can run (the update of a parameter right behind its
    gradient), and what only makes something right before its first reader, compete with the order that is there; local
    search moves steps away from the highest point of the best one. Up to 25 ops a search over sets of finished ops goes
    on from there: it ends with the lowest peak of all orders, unless more sets are open at once than it keeps.

    Before: the program of one device.

    After: the same ops; the peak is never higher than before. A program that no schedule improves keeps its order.

    Options: none.

    Failure: none.

    Example:
        ```mlir before
        func.func @main(%x: tensor<4xf32>) -> tensor<2xf32> {
          %big = tensor.pad %x low[0] high[60] {
          ^bb0(%i: index):
            %z = arith.constant 0.0 : f32
            tensor.yield %z : f32
          } : tensor<4xf32> to tensor<64xf32>
          %late = tensor.concat dim(0) %big, %big : (tensor<64xf32>, tensor<64xf32>) -> tensor<128xf32>
          %copy = tensor.concat dim(0) %x, %x : (tensor<4xf32>, tensor<4xf32>) -> tensor<8xf32>
          %small = tensor.extract_slice %late[1] [2] [3] : tensor<128xf32> to tensor<2xf32>
          %more = tensor.insert_slice %small into %small[0] [2] [1] : tensor<2xf32> into tensor<2xf32>
          return %more : tensor<2xf32>
        }
        ```
        ```mlir after
        tensor.pad
        ```
    """

    name: ClassVar[str] = "jogak-schedule"

    def run(self, module: ir.Module) -> None:
        from jogak.memory.order import low_order  # its machine code takes half a second to load

        for function in functions(module):
            reading = read_tape(function)
            order = low_order(reading.tape)
            if order != list(range(len(order))):
                emit_sequence(function, reading, order)
