"""What one compilation was asked to do: plain data, written to the manifest, read back by the other commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from jogak.cost.machine_file import DEFAULT_MACHINE
from jogak.cost.model import ROOFLINE
from jogak.errors import JogakError
from jogak.ingress.options import Autocast, ImportOptions, Loss, Optimizer, OptimizerKind

PHASES = ("import", "normalize", "shard", "partition", "fit")
"""Phases of the compiler in order; `--compile-to` stops after one of them."""

OPTIMIZERS = get_args(OptimizerKind)
LOSSES = get_args(Loss)
AUTOCASTS = get_args(Autocast)

Searched = Literal["nothing", "plan", "mesh"]
"""What the search decides: nothing (constraints and propagation do), the plan, or plan and shape of the mesh."""


def what_is_searched(wanted: bool | None, *, mesh_given: bool, constrained: bool) -> Searched:
    """What the search decides: by default all that is not given, and nothing where constraints are."""
    if not (wanted if wanted is not None else not constrained):
        return "nothing"
    return "plan" if mesh_given else "mesh"


@dataclass(frozen=True)
class Configuration:
    """The effective configuration of a compilation.

    Attributes:
        model: the MODEL argument.
        mesh: `data=2,model=4`.
        options: how the model becomes a program.
        constraints: `PATTERN=SPEC` texts with their sources, in order.
        target: what the per-device programs are for.
        plugins: files or modules given to `--load-plugin`.
        machine: preset or machine file.
        cost_model: name of the cost model.
        searched: what the search decides. The mesh of a configuration whose mesh is searched says how many devices.
        search_seconds: time limit of the solver on one mesh.
        search_gap: a plan so near to its bound is good enough, as a share.
        memory: bytes of a device: `auto` (the machine's), `16GiB`, `0.5x` of the peak, or `min`.
        micro_batches: parts in which a training step takes its batch; None: as many as the memory asks for.
    """

    model: str
    mesh: str
    options: ImportOptions = field(default_factory=ImportOptions)
    constraints: Sequence[tuple[str, str]] = ()
    target: str = "sim"
    plugins: Sequence[str] = ()
    machine: str = DEFAULT_MACHINE
    cost_model: str = ROOFLINE
    searched: Searched = "nothing"
    search_seconds: float = 20.0
    memory: str = "auto"
    micro_batches: int | None = None
    search_gap: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The form that the manifest holds."""
        return {
            "model": self.model,
            "mesh": self.mesh,
            "options": asdict(self.options),
            "constraints": [list(pair) for pair in self.constraints],
            "target": self.target,
            "plugins": list(self.plugins),
            "machine": self.machine,
            "cost_model": self.cost_model,
            "searched": self.searched,
            "search_time_limit": self.search_seconds,
            "search_gap": self.search_gap,
            "memory": self.memory,
            "micro_batches": self.micro_batches,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Configuration:
        """Read what `to_json` wrote.

        Raises:
            JogakError: something is missing, or is not what this version writes.
        """
        try:
            return Configuration._read(data)
        except (KeyError, TypeError, ValueError) as error:
            message = f"the configuration cannot be read: {type(error).__name__} {error}"
            raise JogakError(message, where="manifest.json", hint="compile the model again") from None

    @staticmethod
    def _read(data: Mapping[str, Any]) -> Configuration:
        raw = dict(data["options"])
        optimizer = raw.pop("optimizer")
        if optimizer is not None:
            optimizer = Optimizer(**{**optimizer, "betas": tuple(optimizer["betas"])})
        constraints = [(pattern, source) for pattern, source in data["constraints"]]
        options = ImportOptions(optimizer=optimizer, **raw)
        names = ("model", "mesh", "target", "plugins", "machine", "cost_model", "searched", "memory", "micro_batches")
        taken = {name: data[name] for name in names}
        limit, gap = data["search_time_limit"], data["search_gap"]
        return Configuration(options=options, constraints=constraints, search_seconds=limit, search_gap=gap, **taken)
