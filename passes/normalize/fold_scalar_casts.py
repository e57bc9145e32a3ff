"""The pass `jogak-fold-scalar-casts`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.rewrite.scalars import fold_scalar_casts
from jogak.plugin import Pass

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class FoldScalarCasts(Pass):
    """Fold casts of scalar constants to a float type, also where the cast rounds.

    The importer writes every Python number as an f64 constant and casts it where it is used. MLIR folds such a cast
    only when no digit is lost; PyTorch rounds the number to the tensor's type before it computes, so folding is exact.

    Before: any module.

    After: no `arith.truncf`, `arith.extf` or `arith.sitofp` of a scalar constant; equal constants are shared.

    Options: none.

    Failure: none.

    Example:
        ```mlir before
        func.func @main() -> f32 {
          %0 = arith.constant 1.0e-05 : f64
          %1 = arith.truncf %0 : f64 to f32
          return %1 : f32
        }
        ```
        ```mlir after
        arith.constant 9.99999974E-6 : f32
        ```
    """

    name: ClassVar[str] = "jogak-fold-scalar-casts"

    def run(self, module: ir.Module) -> None:
        fold_scalar_casts(module.operation)
