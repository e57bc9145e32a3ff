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

    After it: no `cf.assert` anywhere. What computed the conditions is dead; `canonicalize` removes it.

    ```mlir
    cf.assert %in_range, "index must be smaller than dim size"
    %x = tensor.extract %table[%i] : tensor<8xf32>
    // becomes
    %x = tensor.extract %table[%i] : tensor<8xf32>
    ```
    """

    name: ClassVar[str] = "jogak-strip-asserts"

    def run(self, module: ir.Module) -> None:
        for op in collect(module.operation, r"cf\.assert"):
            op.erase()
