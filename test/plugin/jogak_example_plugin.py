"""A plug-in for Jogak: a pass that counts ops, and the sharding rule of an op that Jogak knows nothing about."""

from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir

from jogak.ir.diagnostics import remark
from jogak.ir.module import main_function
from jogak.plugin import Pass, Plugin


@dataclass(frozen=True)
class CountOps(Pass):
    """Remark how many ops named `op` the function @main has at its top level."""

    name: ClassVar[str] = "example-count-ops"
    op: str = "linalg.generic"

    def run(self, module: ir.Module) -> None:
        main = main_function(module)
        names = [op.operation.name for op in main.regions[0].blocks[0].operations]
        remark(main, f"@main has {names.count(self.op)} ops {self.op}")


def bitcast_rule(op: ir.Operation) -> str:
    """Every dimension of the operand is the same dimension of the result: `ab -> ab`."""
    letters = "abcdefgh"[: op.results[0].type.rank]
    return f"{letters} -> {letters}"


plugin = Plugin(
    name="example",
    passes={CountOps.name: lambda: CountOps},
    rules={"tensor.bitcast": bitcast_rule},
)
