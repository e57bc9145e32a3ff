"""The pass `jogak-drop-unused-results`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.module import main_function
from jogak.ir.rewrite.results import drop_unused_results
from jogak.plugin import Pass

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class DropUnusedResults(Pass):
    """Remove results of `linalg.generic` ops that nobody uses.

    The importer writes a maximum as a maximum with its index. The index makes the reduction one that partial results cannot be combined with, so the
    dimension could not be split; where the index is not used, it goes.

    After it: every result of a `linalg.generic` with several results is used, or needed by one that is.

    ```mlir
    %max:2 = linalg.generic ... outs(%values, %indices)   // %max#1 is not used
    // becomes
    %max = linalg.generic ... outs(%values)
    ```
    """

    name: ClassVar[str] = "jogak-drop-unused-results"

    def run(self, module: ir.Module) -> None:
        drop_unused_results(main_function(module).regions[0].blocks[0])
