"""The shape of the mesh: every way to arrange the devices in axes, compared by the best plan of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from jogak.autoshard.model import Model
from jogak.autoshard.plan import Program, SearchOptions, search_plan
from jogak.autoshard.solving import Assigned, Outcome, State
from jogak.cost.model import CostModel
from jogak.sharding.constraints import Seed
from jogak.sharding.mesh import Mesh

AXES = ("data", "model")
"""Names of the axes that a search may use; the last lies on the fastest links."""


@dataclass(frozen=True)
class Found:
    """The best plan on one mesh.

    Attributes:
        mesh: the mesh.
        model: the priced problem.
        outcome: cost and bound; its choice is None when nothing fits.
        plan: what to do; None when nothing fits.
    """

    mesh: Mesh
    model: Model
    outcome: Outcome
    plan: Assigned | None

    def to_json(self) -> dict[str, object]:
        """A row of the manifest's table of meshes."""
        fits = self.plan is not None
        return {
            "mesh": str(self.mesh),
            "feasible": fits,
            "objective": self.outcome.objective if fits else None,
            "lower_bound": self.outcome.lower_bound if fits else None,
            "peak_memory_bytes": round(self.outcome.peak_bytes) if fits else None,
        }


def meshes(devices: int) -> Iterator[Mesh]:
    """Every mesh of up to two axes for a number of devices; one axis first."""
    yield Mesh(AXES[:1], (devices,))
    for major in range(2, devices // 2 + 1):
        if devices % major == 0:
            yield Mesh(AXES, (major, devices // major))


def search_meshes(
    program: Program,
    candidates: Sequence[Mesh],
    price: Callable[[Mesh], CostModel],
    seeds_on: Callable[[Mesh], Sequence[Seed]],
    options: SearchOptions,
    progress: Callable[[Mesh, State], None] | None = None,
) -> list[Found]:
    """The best plan on each mesh, the fastest first; those on which nothing fits last."""
    found = []
    for mesh in candidates:
        tell = None if progress is None else _on(progress, mesh)
        found.append(Found(mesh, *search_plan(program, price(mesh), seeds_on(mesh), options, tell)))
    return sorted(found, key=lambda each: (each.plan is None, each.outcome.objective))


def _on(progress: Callable[[Mesh, State], None], mesh: Mesh) -> Callable[[State], None]:
    return lambda state: progress(mesh, state)
