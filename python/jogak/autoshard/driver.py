"""The search on a module: read the program once, search every mesh that is possible, and write the best plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from torch_mlir import ir

from jogak.autoshard.annotate import annotate_plan
from jogak.autoshard.infeasible import explain_infeasible
from jogak.autoshard.joint import NO_LIMIT, Joint, Measured, joint_lines, search_jointly
from jogak.autoshard.meshes import Found, Progress, search_meshes
from jogak.autoshard.plan import Posed, Program, SearchOptions, pose, search_posed
from jogak.autoshard.realize import Partitioned
from jogak.cost.model import CostModel
from jogak.errors import JogakError
from jogak.ir.diagnostics import DoesNotFit, fail
from jogak.ir.grid import declare_mesh
from jogak.ir.module import main_function
from jogak.plugin import RuleFunction
from jogak.sharding.annotation import read_arguments, read_constraints, write_constraints
from jogak.sharding.constraints import Constraint, Seed, axes_of, resolve, settle
from jogak.sharding.mesh import Mesh
from jogak.sharding.reading import Reading, read_graph
from jogak.text import duration

Realize = Callable[[ir.Module], tuple[Measured, Partitioned]]
"""What becomes of an annotated program: how long it takes once it fits. It may change the module."""


class NotFaster(JogakError):
    """No plan can be faster than what is known already."""


@dataclass(frozen=True)
class SearchReport:
    """What the search found, on every mesh.

    Attributes:
        found: the best plan on each mesh, the fastest first.
        recomputed: the share of what ops make that the memory was searched with, `NO_LIMIT` for a search without a
            limit; below 1 the phase `fit` has to recompute the rest.
        joint: how it was chosen among others; None where the memory does not bind.
        partitioned: the best plan behind the next phase, which takes it over; None where that did not have to be run to
            choose it.
    """

    found: Sequence[Found]
    recomputed: float = 1.0
    joint: Joint | None = None
    partitioned: Partitioned | None = None

    @property
    def interrupted(self) -> bool:
        """Whether the user ended the search before it was done."""
        return any(each.outcome.interrupted for each in self.found)

    @property
    def mesh(self) -> Mesh:
        """The mesh of the best plan."""
        return self.found[0].mesh

    def to_json(self) -> dict[str, Any]:
        """The entry `search` of the manifest."""
        best, model = self.found[0].outcome, self.found[0].model
        return {
            "objective": best.objective,
            "lower_bound": best.lower_bound,
            "gap": best.gap,
            "compute_time_s": best.compute_s,
            "communication_time_s": best.communication_s,
            "peak_memory_bytes": round(best.peak_bytes),
            "seconds": sum(each.outcome.seconds for each in self.found),
            "variables": best.variables,
            "decisions": len(model.sites.sites),
            "sites": sum(model.sites.alike),
            "recomputed_share": self.recomputed,
            "interrupted": self.interrupted,
            "joint": [each.to_json() for each in self.joint.tried] if self.joint else [],
            "meshes": [each.to_json() for each in self.found],
        }

    def describe(self) -> Iterator[str]:
        """The plan's cost, its bound and the other meshes, for people."""
        best, model = self.found[0].outcome, self.found[0].model
        yield (
            f"  searched        {duration(best.objective)} a step, no plan below {duration(best.lower_bound)} "
            f"(gap {best.gap:.2%}), {best.variables} decisions"
        )
        if sum(model.sites.alike) > len(model.sites.sites):
            yield "    the bound is over plans of this mesh that treat every second one of equal layers alike"
        if self.interrupted:
            yield "    interrupted: the best plan so far, on the meshes that were tried"
        if self.recomputed == NO_LIMIT:
            yield "    fits when values are recomputed: the fastest plan, whatever its memory"
        elif self.recomputed < 1:
            yield f"    fits when values are recomputed: with {self.recomputed:.0%} of what ops make alive at once"
        for line in joint_lines(self.joint, best.lower_bound) if self.joint else ():
            yield f"    {line}"
        for each in self.found[1:4]:
            told = duration(each.outcome.objective) if each.plan is not None else "does not fit"
            yield f"    on {each.mesh.detailed()}: {told}"


def search_program(
    module: ir.Module,
    candidates: Sequence[Mesh],
    price: Callable[[Mesh], CostModel],
    constraints: Sequence[Constraint],
    rules: Mapping[str, RuleFunction],
    options: SearchOptions,
    progress: Progress | None = None,
    refine_seconds: float = 0.0,
    realize: Realize | None = None,
    below: float | None = None,
) -> SearchReport:
    """Search a program on every mesh and annotate it with the best plan.

    Args:
        progress: told whenever the search gets further.
        refine_seconds: how long meshes of three axes are searched besides.
        realize: tells what recomputation makes of a plan; None takes the first one that may fit by it.
        below: seconds of a step that are known to be possible: without memory in the way, a plan on the given meshes
            must be faster.

    Raises:
        JogakError: the constraints fit none of the meshes.
        DoesNotFit: no plan fits the memory on any mesh.
        NotFaster: none takes less than `below`.
    """
    function = main_function(module).operation
    reading = read_graph(function, rules)
    given = list(_seeds(function, candidates, constraints, reading))
    meshes = [mesh for mesh, _ in given]
    on_mesh = dict(given)
    if len(on_mesh) < 2 or constraints:
        refine_seconds = 0.0  # the axes were named by the user
    program = Program.of(reading.graph)

    @cache
    def pose_on(mesh: Mesh) -> Posed:
        seeds = settle([*read_constraints(function, reading, mesh), *on_mesh[mesh]])
        return pose(program, price(mesh), seeds, options)

    def search(share: float) -> list[Found]:
        if share == NO_LIMIT:
            unlimited = search_meshes(meshes, pose_on, replace(options, limit=None), progress, refine_seconds)
            return [each for each in unlimited if _may_be_made_to_fit(each, pose_on(each.mesh), options.limit)]
        asked = replace(options, recomputed=share, measured=realize is not None)
        return search_meshes(meshes, pose_on, asked, progress, refine_seconds)

    def apply(target: ir.Module, best: Found, function: ir.Operation, reading: Reading) -> None:
        assert best.plan is not None, "only plans that fit are applied"
        declare_mesh(target, best.mesh)
        write_constraints(function, on_mesh[best.mesh], reading)
        annotate_plan(target, function, reading, best.outcome, best.plan, best.model)

    followed: list[tuple[Found, Partitioned]] = []

    def measure(best: Found) -> Measured:
        assert realize is not None
        copy = module.operation.clone()  # a ModuleOp, which serves wherever a Module does
        copied = main_function(copy).operation
        apply(copy, best, copied, read_graph(copied, rules))
        measured, partitioned = realize(copy)
        followed.append((best, partitioned))
        return measured

    if below is not None:
        free = search_meshes(meshes, pose_on, replace(options, limit=None), progress)
        if min(each.outcome.lower_bound for each in free) >= below:
            raise NotFaster(f"no plan takes less than {duration(below)}")
    joint = search_jointly(search, None if realize is None else measure, options.limit)
    found, share = list(joint.best.found), joint.best.share
    if share == 1 and joint.best.measured and not found[0].outcome.interrupted:
        found[0] = _proven(found[0], pose_on(found[0].mesh), options, progress)
    best = found[0]
    if best.plan is None:
        closest = min(found, key=lambda each: each.model.holds.least()[0])
        message, hint = explain_infeasible(closest.model, closest.outcome, options.limit or 0.0, share)
        fail(function, message, hint=hint, error=DoesNotFit)
    apply(module, best, function, reading)
    ready = next((made for plan, made in followed if _same(plan, best)), None)
    return SearchReport(found, share, joint if joint.best.measured else None, ready)


def _may_be_made_to_fit(found: Found, posed: Posed, limit: float | None) -> bool:
    """Whether a plan fits when nothing is kept but arguments, and what each op reads and makes while it runs."""
    choice = found.outcome.choice
    if choice is None or limit is None:
        return choice is not None
    return posed.with_share(0.0).holds.without_copies().peak(choice)[0] <= limit


def _same(one: Found, other: Found) -> bool:
    """Whether two plans are one."""
    return one.mesh == other.mesh and one.outcome.choice == other.outcome.choice


def _proven(best: Found, posed: Posed, options: SearchOptions, progress: Progress | None) -> Found:
    """A plan that won by measurement, searched with all effort: nothing is recomputed that would change its time."""
    tell = None if progress is None else partial(progress, best.mesh, best.outcome.objective)
    again = Found(best.mesh, *search_posed(posed, options, tell))
    return again if again.plan is not None and again.outcome.objective < best.outcome.objective else best


def _seeds(
    function: ir.Operation, candidates: Sequence[Mesh], constraints: Sequence[Constraint], reading: Reading
) -> Iterator[tuple[Mesh, list[Seed]]]:
    """The meshes that the constraints fit, with what they give there.

    Raises:
        JogakError: they fit none; it is the error of the last.
    """
    refused: JogakError | None = None
    fits = False
    for candidate in candidates:
        mesh = candidate.cut_for(axes_of(constraints))
        try:
            seeds = resolve(constraints, read_arguments(function), mesh, reading.graph)
        except JogakError as error:
            refused = error
            continue
        fits = True
        yield mesh, seeds
    if not fits and refused is not None:
        raise refused
