"""The pass `jogak-isolate-gathers`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jogak.ir.rewrite.build import functions
from jogak.ir.rewrite.gathers import isolate_gathers
from jogak.plugin import Pass

if TYPE_CHECKING:
    from torch_mlir import ir


@dataclass(frozen=True)
class IsolateGathers(Pass):
    """Bring every `tensor.extract` with computed indices into a `linalg.generic` that yields it and does nothing else.

    After it every gather has the form `out[loops] = table[f(indices[loops]), loops...]`: the indices are computed from
    its own operands, the table is a captured value, and what was computed around it takes the result as an operand. A
    gather whose indices are just loops becomes an ordinary read of the table (a slice of it where the loops are
    shorter): position embeddings are then plain operands.

    ```mlir
    %x = tensor.extract %table[%i, %d] : tensor<8x4xf32>
    %y = arith.addf %x, %in : f32
    // becomes, with %g computed by a generic that holds the extract
    %y = arith.addf %g_element, %in : f32
    ```
    """

    name: ClassVar[str] = "jogak-isolate-gathers"

    def run(self, module: ir.Module) -> None:
        for function in functions(module):
            isolate_gathers(function)
