"""The pass `jogak-expand-powers`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.rewrite.scalars import expand_powers
from jogak.plugin import Pass

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class ExpandPowers(Pass):
    """Turn powers by a constant whole number from 1 to 8 into multiplications.

    A multiplication is what targets and cost models know best, and squares in normalization layers become visible.

    Before: any module.

    After: no `math.fpowi` or `math.powf` by such a constant. Other exponents are left alone.

    Options: none.

    Failure: none.

    Example:
        ```mlir before
        func.func @main(%arg0: f32) -> f32 {
          %0 = arith.constant 3 : i64
          %1 = math.fpowi %arg0, %0 : f32, i64
          return %1 : f32
        }
        ```
        ```mlir after
        %0 = arith.mulf %arg0, %arg0 : f32
        %1 = arith.mulf %arg0, %0 : f32
        return %1 : f32
        ```
    """

    name: ClassVar[str] = "jogak-expand-powers"

    def run(self, module: ir.Module) -> None:
        expand_powers(module.operation)
