"""A pass that says one thing of every severity about each function, for tests of diagnostics."""

from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir

from jogak.ir.diagnostics import fail, note, remark, warn
from jogak.plugin import Pass, Plugin


@dataclass(frozen=True)
class Tell(Pass):
    """Remark and warn at functions; fail at one named `bad`."""

    name: ClassVar[str] = "tell"

    def run(self, module: ir.Module) -> None:
        for function in module.body.operations:
            remark(function, "a function")
            warn(function, "a doubtful function", notes=[note(function, "see here")])
            if function.name.value == "bad":
                fail(function, "a bad function", hint="rename it")


plugin = Plugin(name="tell", passes={Tell.name: lambda: Tell})
