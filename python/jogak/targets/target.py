"""What a target is: it writes what it needs into an output folder, and runs one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from jogak.text import size

if TYPE_CHECKING:
    from torch import Tensor
    from torch_mlir import ir

    from jogak.compiler import Compilation


@dataclass(frozen=True)
class Request:
    """How to run a folder.

    Attributes:
        processes: how many to start; by default one per device of the mesh.
        steps: how often to run the program; updates go back in.
        precision: `f64` holds and computes every float in double; None or `declared` as the program says.
        timeout: seconds that everything may take.
        options: words of the target's own command line, passed on.
        profile: measure every segment and collective.
    """

    processes: int | None = None
    steps: int = 1
    precision: str | None = None
    timeout: float = 600.0
    options: Sequence[str] = ()
    profile: bool = False


@dataclass(frozen=True)
class Execution:
    """A run of the programs of all devices.

    Attributes:
        results: each result of the last step, whole.
        disagreement: for each result the largest difference between devices that should agree.
        collectives: what one step did, in the form in which the manifest promises it.
        losses: the loss of each step, where there is one.
        output: what the run printed.
        profiles: what each rank measured, where that was asked for.
        program: text of the `device.py` that ran; it is not that of the folder where that was compiled for another
            target or precision. Nothing of a target that has none.
    """

    results: Mapping[str, Tensor]
    disagreement: Mapping[str, float]
    collectives: Mapping[str, Any]
    losses: Sequence[float] = field(default_factory=list)
    output: str = ""
    profiles: Sequence[Mapping[str, Any]] = ()
    program: str = ""

    def describe(self) -> str:
        """Losses and collectives, for people."""
        lines = [self.output.rstrip()] if self.output else []
        scalars = {name: value for name, value in self.results.items() if value.numel() == 1}
        lines += [f"{name} = {value.item():.6g}" for name, value in scalars.items()]
        lines.append(f"{len(self.results)} results")
        for kind, entry in self.collectives.items():
            lines.append(f"{kind}: {entry['count']} times a step, {size(entry['bytes'])} per device")
        return "\n".join(lines)


class Target(Protocol):
    """An engine that runs per-device programs. A plug-in's `targets` has functions that return one."""

    needs_values: bool
    """Whether an output folder for it holds a value for every argument."""
    has_double: bool
    """Whether it can hold and compute every float in double precision."""

    def require(self) -> None:
        """Look for what `write` needs, before anything else is done.

        Raises:
            JogakError: it is not installed.
        """

    def allocations(self, module: ir.Module) -> Mapping[ir.Operation, int]:
        """For ops of a per-device program the bytes that the target allocates at the worst moment of each.

        Results count; operands do not. Ops that are left out take what the memory model says.
        """

    def write(self, made: Compilation, folder: Path) -> None:
        """Write what the target needs into an output folder that holds the modules already.

        Raises:
            JogakError: the program has something that the target cannot run.
        """

    def execute(
        self, folder: Path, manifest: Mapping[str, Any], values: Mapping[str, Tensor], request: Request
    ) -> Execution:
        """Run an output folder.

        Args:
            values: the whole value of every argument.

        Raises:
            JogakError: the folder is incomplete, or a device failed.
        """
