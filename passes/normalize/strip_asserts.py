"""The pass `jogak-strip-asserts`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.rewrite.scalars import collect
from jogak.plugin import Pass

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class StripAsserts(Pass):
    """Remove `cf.assert`, which keeps everything around it alive.

    An assertion in an imported program checks that an index is within its dimension. A program for which one fails is
    an error in PyTorch too, so a program without it does the same on every input for which PyTorch gives a result; but
    with it a linalg op has a side effect and can neither be merged, moved nor removed.

    Before: any module.

    After: no `cf.assert` anywhere. What computed the conditions is dead; `canonicalize` removes it.

    Options: none.

    Failure: none.

    Example:
        ```mlir before
        func.func @main(%arg0: i1, %arg1: f32) -> f32 {
          cf.assert %arg0, "index must be smaller than dim size"
          return %arg1 : f32
        }
        ```
        ```mlir after
        func.func @main(%arg0: i1, %arg1: f32) -> f32 {
          return %arg1 : f32
        }
        ```
    """

    name: ClassVar[str] = "jogak-strip-asserts"

    def run(self, module: ir.Module) -> None:
        for op in collect(module.operation, r"cf\.assert"):
            op.erase()
