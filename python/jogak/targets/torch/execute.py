"""`jogak run --target torch`: an output folder on several processes, and its comparison with PyTorch."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jogak.configuration import Configuration
from jogak.errors import JogakError
from jogak.ingress.reference import run_reference
from jogak.report.manifest import MANIFEST
from jogak.runtime.check import Comparison, Outcome, whole_program
from jogak.runtime.compare import compare
from jogak.runtime.counts import Counter, summarize, to_json
from jogak.runtime.program import CollectiveStep, Program
from jogak.runtime.sharded import unshard_value
from jogak.runtime.values import load_values
from jogak.sharding.mesh import Mesh
from jogak.sharding.sharding import Sharding
from jogak.targets.torch.folder import PROGRAM, device_program, title_of, write_folder
from jogak.targets.torch.launch import DEFAULT_TIMEOUT, Run, launch
from jogak.targets.torch.schedule import COMMUNICATION

_TOLERANCE = {"f64": 1e-5, "f32": 1e-4, "bf16": 2e-2, "f16": 2e-2}
"""Largest relative error that passes, by the narrowest float that is computed in."""


@dataclass(frozen=True)
class Executed:
    """A run on several processes.

    Attributes:
        results: each result of the last step, whole.
        disagreement: for each result the largest difference between devices that should agree.
        losses: the loss of each step.
        collectives: what the processes did, in the form in which the manifest promises it.
        output: what rank 0 printed.
    """

    results: Mapping[str, Tensor]
    disagreement: Mapping[str, float]
    losses: Sequence[float]
    collectives: Mapping[str, Any]
    output: str


def execute(
    folder: Path,
    manifest: Mapping[str, Any],
    values: Mapping[str, Tensor],
    *,
    processes: int | None = None,
    steps: int = 1,
    precision: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Executed:
    """Run a folder's program under torchrun and put the results together.

    Args:
        values: the whole value of every argument.
        processes: how many to start; by default one per device of the mesh.
        steps: how often to run the program; updates go back in.
        precision: `f64` runs the same program with every float in double; otherwise as it was written.
        timeout: seconds that everything may take.

    Raises:
        JogakError: the number of processes is not that of the mesh, or a process failed.
    """
    mesh = Mesh(tuple(manifest["mesh"]["axes"]), tuple(manifest["mesh"]["shape"]))
    if processes is not None and processes != mesh.devices:
        raise JogakError(
            f"the program is for the {mesh.devices} devices of the mesh {mesh}",
            where=f"--nproc {processes}",
            hint=f"give --nproc {mesh.devices}, or compile for another mesh",
        )
    program = device_program(folder, manifest)
    shaped = {each["name"]: values[each["name"]].detach().reshape(each["shape"]) for each in manifest["arguments"]}
    with _runnable(folder, manifest, program, mesh, precision) as source:
        run = launch(source, folder.resolve() / MANIFEST, shaped, mesh.devices, steps=steps, timeout=timeout)
    results, disagreement = _gather(run, manifest, mesh)
    reports = [json.loads(text) for text in run.report]
    counted = _counted(program, [report["collectives"] for report in reports], steps)
    return Executed(results, disagreement, reports[0]["losses"], counted, run.output)


@contextmanager
def _runnable(
    folder: Path, manifest: Mapping[str, Any], program: Program, mesh: Mesh, precision: str | None
) -> Iterator[Path]:
    """The folder with the program: the one that was compiled, or (for double precision) one that is made now."""
    if precision != "f64" and (folder / "torch" / PROGRAM).is_file():
        yield folder.resolve() / "torch"
        return
    with tempfile.TemporaryDirectory(prefix="jogak-torch-") as name:
        write_folder(program, mesh, Path(name), title_of(manifest), "f64" if precision == "f64" else None)
        yield Path(name)


def _gather(run: Run, manifest: Mapping[str, Any], mesh: Mesh) -> tuple[dict[str, Tensor], dict[str, float]]:
    results: dict[str, Tensor] = {}
    disagreement: dict[str, float] = {}
    for number, described in enumerate(manifest["results"]):
        pieces = [each[number] for each in run.results]
        whole, difference = unshard_value(pieces, Sharding.parse(described["sharding"]), mesh)
        results[described["name"]] = whole
        disagreement[described["name"]] = difference
    return results, disagreement


def _counted(program: Program, calls: Sequence[Sequence[Any]], steps: int) -> dict[str, Any]:
    """The collectives of one step.

    Raises:
        JogakError: the processes called other collectives than the program has.
    """
    counter = Counter()
    for step in program.steps:
        if isinstance(step, CollectiveStep):
            counter.add(step)
    counted = to_json(summarize([counter.table]))
    expected = {
        (kind, axes): entry["count"] * steps
        for kind, row in counted.items()
        if kind in COMMUNICATION
        for axes, entry in row["by_axis"].items()
    }
    for rank, called in enumerate(calls):
        if {(kind, ",".join(axes)): count for kind, axes, count in called} != expected:
            raise JogakError(f"rank {rank} called other collectives than its program has: {called}")
    return counted


def run_torch(
    folder: Path, manifest: Mapping[str, Any], *, processes: int | None, steps: int, precision: str | None, timeout: float
) -> Executed:
    """Run a folder with the model's own weights and random inputs, see `execute`."""
    values = load_values(folder, manifest)
    return execute(
        folder, manifest, values, processes=processes, steps=steps, precision=precision, timeout=timeout
    )


def check_torch(
    folder: Path,
    manifest: Mapping[str, Any],
    *,
    processes: int | None = None,
    precision: str | None = None,
    tolerance: float | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Outcome:
    """Run one step on several processes and compare every result with its reference, as the simulator's check does.

    Args:
        precision: `f64` or `declared`; by default a training step is checked in f64, inference as the program says.
        tolerance: largest relative error that passes; by default 1e-5 in f64, 1e-4 in f32, 2e-2 in 16-bit floats.

    Raises:
        JogakError: a process failed, or PyTorch cannot run the model.
    """
    configuration = Configuration.from_json(manifest["configuration"])
    narrow = _narrowest(manifest, configuration)
    stateful = any(each["role"] == "optimizer_state" for each in manifest["arguments"])
    chosen = precision or ("f64" if stateful and narrow == "f32" else "declared")
    computed = "f64" if chosen == "f64" else narrow
    values = load_values(folder, manifest)
    done = execute(folder, manifest, values, processes=processes, precision=chosen, timeout=timeout)
    if manifest["reference"] == "pytorch":
        dtype = torch.float64 if chosen == "f64" else None
        expected = run_reference(configuration.model, configuration.options, values, dtype=dtype)
    else:
        expected = whole_program(folder, manifest, values, chosen)
    found = compare(expected, done.results, values, configuration.options.optimizer, computed)
    comparisons = tuple(
        Comparison(name, described["role"], found[name].absolute, found[name].relative, done.disagreement[name])
        for described in manifest["results"]
        for name in [described["name"]]
    )
    limit = tolerance if tolerance is not None else _TOLERANCE[computed]
    promised = manifest["predicted"]["collectives"]
    return Outcome(comparisons, done.collectives, promised, computed, limit, manifest["reference"])


def _narrowest(manifest: Mapping[str, Any], configuration: Configuration) -> str:
    elements = {entry["element"] for entry in (*manifest["arguments"], *manifest["results"])}
    if configuration.options.autocast == "bf16" or "bf16" in elements:
        return "bf16"
    return "f16" if "f16" in elements else "f32"
