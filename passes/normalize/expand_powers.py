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
    Other exponents are left alone.

    ```mlir
    %p = math.fpowi %x, %c3 : f32, i64
    // becomes
    %s = arith.mulf %x, %x : f32
    %p = arith.mulf %x, %s : f32
    ```
    """

    name: ClassVar[str] = "jogak-expand-powers"

    def run(self, module: ir.Module) -> None:
        expand_powers(module.operation)
