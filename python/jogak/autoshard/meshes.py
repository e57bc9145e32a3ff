"""The shape of the mesh: every way to arrange the devices in axes, compared by the best plan of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from jogak.autoshard.model import Model
from jogak.autoshard.plan import Posed, SearchOptions, search_posed
from jogak.autoshard.solving import Assigned, Outcome, State
from jogak.sharding.mesh import Mesh

AXES = ("data", "model")
"""Names of the axes that a search may use; the last lies on the fastest links."""
REFINED_FROM = 64
"""Devices from which on three axes are worth the time that their search takes."""
REFINED = ("data", "middle", "model")
"""The same for three."""
Progress = Callable[[Mesh, float | None, State], None]
"""Told where a search is: the mesh, the seconds of the best plan on the meshes before it, the state on this one."""


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
            "mesh": self.mesh.detailed(),
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


def refinements(mesh: Mesh) -> Iterator[Mesh]:
    """Every mesh of three axes that splits one axis of a mesh of two in two parts."""
    if len(mesh.axes) != len(AXES):
        return
    major, minor = mesh.shape
    shapes = dict.fromkeys([
        *((outer, major // outer, minor) for outer in _divisors(major)),
        *((major, minor // inner, inner) for inner in _divisors(minor)),
    ])  # fmt: skip
    for shape in shapes:
        yield Mesh(REFINED, shape)


def _divisors(size: int) -> Iterator[int]:
    """Those that leave at least two on both sides, the most even split first."""
    found = [each for each in range(2, size // 2 + 1) if size % each == 0]
    return iter(sorted(found, key=lambda each: max(each, size // each)))


def search_meshes(
    candidates: Sequence[Mesh],
    pose_on: Callable[[Mesh], Posed],
    options: SearchOptions,
    progress: Progress | None = None,
    refine_seconds: float = 0.0,
) -> list[Found]:
    """The best plan on each mesh, the fastest first; those on which nothing fits last.

    An interrupt (Ctrl-C) ends the search with what was found so far; its outcome says so.

    Args:
        pose_on: the problem on a mesh; one that was searched before knows its best plan without a limit.
        refine_seconds: how long meshes of three axes that refine the best one are searched as well. The strategies of
            an op on three axes are some hundreds, so that each takes many times longer than one of two.

    Raises:
        KeyboardInterrupt: nothing was found yet.
    """
    found: list[Found] = []
    deadline: float | None = None
    waiting = list(candidates)
    try:
        while waiting and not any(each.outcome.interrupted for each in found):
            mesh = waiting.pop(0)
            tell = None if progress is None else partial(progress, mesh, _least(found))
            found.append(Found(mesh, *search_posed(pose_on(mesh), options, tell)))
            if not waiting and deadline is None and refine_seconds and _least(found) is not None:
                deadline = time.monotonic() + refine_seconds
                waiting = list(refinements(min(found, key=_order).mesh))
            if deadline is not None and time.monotonic() > deadline:
                break
    except KeyboardInterrupt:
        if _least(found) is None:
            raise
        found[-1] = replace(found[-1], outcome=replace(found[-1].outcome, interrupted=True))
    if _least(found) is None and any(each.outcome.interrupted for each in found):
        raise KeyboardInterrupt
    return sorted(found, key=_order)


def _order(found: Found) -> tuple[bool, float]:
    return found.plan is None, found.outcome.objective


def _least(found: Sequence[Found]) -> float | None:
    """Seconds of the best plan so far; None when there is none."""
    return min((each.outcome.objective for each in found if each.plan is not None), default=None)
