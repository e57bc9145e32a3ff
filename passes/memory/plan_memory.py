"""The pass `jogak-plan-memory`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.rewrite.build import functions
from jogak.memory.offsets import plan_memory
from jogak.plugin import Pass

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class PlanMemory(Pass):
    """Give every value of a per-device program its place in one arena.

    Constants move in front of their first reader. Reshapes and contiguous slices are views; a result lies where an
    operand lay that dies in its op, where the op allows it; the new value of an argument is written over the old one.
    Offsets are multiples of 64 bytes. Those that `jogak-rematerialize` wrote, which fit its budget, stay where they are
    right for the program as it is.

    Before: the program of one device in its final order.

    After: `jogak.offset` on every argument (its first byte) and op (one for each result, -1 for a number in a
    register), `jogak.arena` on the function (bytes). No two values that are alive at once share a byte, except views.

    Options: none.

    Failure: none.

    Example:
        ```mlir before
        func.func @main(%x: tensor<16xf32>, %y: tensor<16xf32>) -> tensor<32xf32> {
          %c = tensor.concat dim(0) %x, %y : (tensor<16xf32>, tensor<16xf32>) -> tensor<32xf32>
          return %c : tensor<32xf32>
        }
        ```
        ```mlir after
        tensor.concat dim(0) %arg0, %arg1 {jogak.offset = array<i64: 128>}
        ```
    """

    name: ClassVar[str] = "jogak-plan-memory"

    def run(self, module: ir.Module) -> None:
        for function in functions(module):
            plan_memory(function)
