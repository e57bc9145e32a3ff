"""The pass `jogak-fuse-elementwise`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.rewrite.build import functions
from jogak.ir.rewrite.fusion import fuse_elementwise
from jogak.plugin import Pass

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class FuseElementwise(Pass):
    """Fuse elementwise producers into their consumers, so that few `linalg.generic` ops remain and nothing is computed
    twice.

    A producer with parallel loops and one result is fused

    - always, when it only moves data or computes indices: transposes, broadcasts and iotas become indexing maps, and a
      fill becomes a scalar;
    - when every use of it is in the consumer and the consumer is elementwise, or a reduction that reads each element
      once (sum, mean, maximum). It is never fused into a contraction or convolution, which would compute it for every
      output again and would no longer look like one.

    Gathers take in only the computation of their indices. Fused ops keep the location of the consumer, and the ops in
    their bodies keep their own.

    ```mlir
    %t = linalg.generic {maps: (d0, d1) -> (d1, d0), (d0, d1) -> (d0, d1)} ins(%x) ...   // a transpose
    %y = linalg.generic {maps: (d0, d1) -> (d0, d1), ...} ins(%t) ...
    // becomes
    %y = linalg.generic {maps: (d0, d1) -> (d1, d0), ...} ins(%x) ...
    ```
    """

    name: ClassVar[str] = "jogak-fuse-elementwise"

    def run(self, module: ir.Module) -> None:
        for function in functions(module):
            fuse_elementwise(function)
