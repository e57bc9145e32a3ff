"""Running an output folder on several processes, and putting the results of the ranks together."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from jogak.errors import JogakError
from jogak.report.manifest import MANIFEST
from jogak.runtime.counts import Counter, summarize, to_json
from jogak.runtime.kinds import COMMUNICATION, KINDS
from jogak.runtime.program import CollectiveStep, Program
from jogak.runtime.sharded import REPLICAS, whole_results
from jogak.sharding.mesh import Mesh
from jogak.targets.distributed.folder import RUN, device_program
from jogak.targets.distributed.launch import launch
from jogak.targets.distributed.rank.layout import stored
from jogak.targets.distributed.rank.step import DEVICE
from jogak.targets.target import Execution, Request

Write = Callable[[Path], None]
"""Writes what ranks run into a folder that is new."""


def execute(
    folder: Path,
    manifest: Mapping[str, Any],
    values: Mapping[str, Tensor],
    request: Request,
    target: str,
    write: Write,
) -> Execution:
    """Run a folder's program under torchrun and put the results together.

    Args:
        values: the whole value of every argument.
        target: what runs it.
        write: the target's, where the folder was compiled for another one, or for another precision.

    Raises:
        JogakError: the number of processes is not that of the mesh, or a process failed.
    """
    mesh = Mesh.from_json(manifest["mesh"])
    if request.processes is not None and request.processes != mesh.devices:
        raise JogakError(
            f"the program is for the {mesh.devices} devices of the mesh {mesh}",
            where=f"--nproc {request.processes}",
            hint=f"give --nproc {mesh.devices}, or compile for another mesh",
        )
    program = device_program(folder, manifest)
    shaped = {each["name"]: stored(values[each["name"]].detach(), each) for each in manifest["arguments"]}
    with _runnable(folder, manifest, request.precision, target, write) as source:
        text = (source / DEVICE).read_text(encoding="utf-8")
        run = launch(source, folder.resolve() / MANIFEST, shaped, mesh.devices, request)
    reports = [json.loads(text) for text in run.report]
    profiles = [report["profile"] for report in reports if report["profile"]]
    steps = profiles[0]["runs"] if profiles else request.steps
    # Kernels round by where a buffer lies. An optimizer makes much of that where a gradient is nothing but rounding, as
    # that of the bias of attention's keys: after several steps replicas may differ, and only the values are told.
    tolerance = REPLICAS if steps == 1 else None
    results, disagreement = whole_results(manifest["results"], run.results, mesh, tolerance)
    counted = _counted(program, mesh, [report["collectives"] for report in reports], steps)
    return Execution(results, disagreement, counted, reports[0]["losses"], run.output, profiles, text)


@contextmanager
def _runnable(
    folder: Path, manifest: Mapping[str, Any], precision: str | None, target: str, write: Write
) -> Iterator[Path]:
    """The folder with the program: the one that was compiled, or one that is made now."""
    if precision != "f64" and manifest["configuration"]["target"] == target and (folder / RUN).is_file():
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="jogak-program-") as name:
        write(Path(name))
        yield Path(name)


def _counted(program: Program, mesh: Mesh, calls: Sequence[Sequence[Any]], steps: int) -> dict[str, Any]:
    """The collectives of one step.

    Raises:
        JogakError: the processes called other collectives than the program has.
    """
    counter = Counter()
    for step in program.steps:
        if isinstance(step, CollectiveStep):
            counter.add(step)
    counted = to_json(summarize([counter.table]))
    communication = {KINDS.get(kind, kind) for kind in COMMUNICATION}
    expected = {
        (kind, axes): entry["count"] * steps
        for kind, row in counted.items()
        if kind in communication
        for axes, entry in row["by_axis"].items()
    }
    for rank, called in enumerate(calls):
        if {(kind, ",".join(mesh.told(axes))): count for kind, axes, count in called} != expected:
            raise JogakError(f"rank {rank} called other collectives than its program has: {called}")
    return counted
