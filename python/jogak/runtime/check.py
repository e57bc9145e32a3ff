"""Running an output folder on the simulator, and comparing every result with PyTorch eager on one device.

Where PyTorch cannot build the model again (an `.mlir` or `.onnx` file, a plan of a model that was only in memory), the
whole program on one device takes PyTorch's place: that still finds every error of sharding and partitioning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from jogak.configuration import Configuration
from jogak.ingress.reference import run_reference
from jogak.ir.context import new_context, parse_file
from jogak.report.manifest import file_of
from jogak.runtime.compare import compare
from jogak.runtime.counts import to_json
from jogak.runtime.errors import SimulationError
from jogak.runtime.program import load_program
from jogak.runtime.sharded import argument_pieces, whole_results
from jogak.runtime.simulator import ONE_DEVICE, SimulationResult, simulate
from jogak.runtime.values import load_values
from jogak.sharding.mesh import Mesh
from jogak.targets.distributed.rank.layout import logical, stored

_TOLERANCE = {"f64": 1e-5, "f32": 1e-5, "bf16": 2e-2, "f16": 2e-2}
"""Largest relative error that passes, by the narrowest float that is computed in."""

_REFERENCES = {
    "pytorch": "PyTorch eager",
    "program": "the unpartitioned program on one device (there is no PyTorch model to compare with)",
}


@dataclass(frozen=True)
class Comparison:
    """One result against the reference's.

    Attributes:
        name: `jogak.name` of the result.
        role: `output`, `loss` or `update`.
        absolute: largest absolute difference.
        relative: that, divided by the largest magnitude of the reference's result.
        disagreement: largest absolute difference between devices that should hold the same piece.
    """

    name: str
    role: str
    absolute: float
    relative: float
    disagreement: float


@dataclass(frozen=True)
class Outcome:
    """The outcome of a check.

    Attributes:
        comparisons: one for each result.
        counted: collectives that the simulator counted.
        promised: collectives that the manifest promises.
        precision: what both sides computed in.
        tolerance: largest relative error that passes.
        reference: what was compared with, `pytorch` or `program`.
    """

    comparisons: tuple[Comparison, ...]
    counted: Mapping[str, Any]
    promised: Mapping[str, Any]
    precision: str
    tolerance: float
    reference: str = "pytorch"

    @property
    def passed(self) -> bool:
        """Whether every result is within tolerance and every promised collective happened, no more and no less."""
        close = all(each.relative <= self.tolerance for each in self.comparisons)
        return close and self.counted == self.promised

    def describe(self, most: int = 12) -> str:
        """A table of the results with the largest errors, and the verdict."""
        ranked = sorted(self.comparisons, key=lambda each: (each.role != "loss", -each.relative))
        width = max((len(each.name) for each in ranked[:most]), default=0)
        lines = [f"{'result':{width}}  role     largest absolute error  relative"]
        for each in ranked[:most]:
            lines.append(f"{each.name:{width}}  {each.role:7}  {each.absolute:22.3e}  {each.relative:8.2e}")
        if len(ranked) > most:
            lines.append(f"... and {len(ranked) - most} more with smaller errors")
        worst = max((each.relative for each in ranked), default=0.0)
        met = (
            "as promised"
            if self.counted == self.promised
            else f"NOT as promised: {self.promised}, counted {self.counted}"
        )
        lines.append(f"collectives {met}")
        verdict = "passed" if self.passed else "FAILED"
        lines.append(
            f"{verdict}: {len(ranked)} results equal {_REFERENCES[self.reference]} to {worst:.2e} relative "
            f"(tolerance {self.tolerance:g}, computed in {self.precision})"
        )
        return "\n".join(lines)


class Executed(Protocol):
    """What a check compares: a run on any target."""

    @property
    def results(self) -> Mapping[str, Tensor]: ...

    @property
    def disagreement(self) -> Mapping[str, float]: ...

    @property
    def collectives(self) -> Mapping[str, Any]: ...


Execute = Callable[[Mapping[str, Tensor], str], Executed]


@dataclass(frozen=True)
class Simulated:
    """A run of the per-device programs.

    Attributes:
        results: each result of the program, whole.
        disagreement: for each result the largest difference between devices that should agree.
        result: what the simulator says.
    """

    results: Mapping[str, Tensor]
    disagreement: Mapping[str, float]
    result: SimulationResult

    @property
    def collectives(self) -> Mapping[str, Any]:
        """What the devices did, in the form in which the manifest promises it."""
        return to_json(self.result.collectives)


def simulate_folder(
    folder: Path, manifest: Mapping[str, Any], precision: str | None, values: Mapping[str, Tensor] | None = None
) -> Simulated:
    """Execute every device's program of an output folder.

    Args:
        precision: `f64` holds every float in double; None or `declared` computes as the program says.
        values: for each argument its whole value; the model's own weights and random inputs by default.

    Raises:
        JogakError: the folder is incomplete.
    """
    mesh = Mesh.from_json(manifest["mesh"])
    context = new_context()
    program = load_program(parse_file(file_of(folder, manifest["modules"]["device"]), context))
    given = values if values is not None else load_values(folder, manifest)
    per_device: list[dict[str, Tensor]] = [{} for _ in range(mesh.devices)]
    for argument in manifest["arguments"]:
        for device, piece in enumerate(argument_pieces(argument, given[argument["name"]], mesh)):
            per_device[device][argument["name"]] = piece
    result = simulate(program, mesh, per_device, precision="f64" if precision == "f64" else None)
    for device, used in enumerate(result.memory):
        promised = manifest["predicted"]["peak_memory_bytes"]
        if not used.arena == used.extent == promised:
            raise SimulationError(
                f"device {device} used {used.extent} bytes of an arena of {used.arena}, promised were {promised}"
            )
    results, disagreement = whole_results(manifest["results"], result.outputs, mesh)
    return Simulated(results, disagreement, result)


def whole_program(
    folder: Path, manifest: Mapping[str, Any], values: Mapping[str, Tensor], precision: str | None
) -> dict[str, Tensor]:
    """The results of the unpartitioned program on one device, by name.

    Raises:
        JogakError: the folder is incomplete.
    """
    annotated = load_program(parse_file(file_of(folder, manifest["modules"]["program"]), new_context()))
    program = replace(annotated, mesh=None)  # the mesh of its annotations, which mean nothing here
    given = {each["name"]: stored(values[each["name"]], each) for each in manifest["arguments"]}
    outputs = simulate(program, ONE_DEVICE, [given], precision="f64" if precision == "f64" else None).outputs[0]
    described = zip(manifest["results"], outputs, strict=True)
    return {entry["name"]: logical(value, entry) for entry, value in described}


def check_run(
    folder: Path,
    manifest: Mapping[str, Any],
    precision: str | None,
    tolerance: float | None,
    execute: Execute | None = None,
) -> Outcome:
    """Run a folder and compare every result with its reference: PyTorch eager, or the unpartitioned program.

    Args:
        precision: `f64` or `declared`. By default a training step is checked in f64, since Adam's update divides by the
            gradient's magnitude and turns rounding noise into whole steps; inference as the program says.
        tolerance: largest relative error that passes; by default 1e-5; for 16-bit floats 2e-2, see `compare`.
        execute: what runs it, given the values and the precision; the simulator by default.

    Raises:
        JogakError: the folder is incomplete, or PyTorch cannot run the model.
    """
    configuration = Configuration.from_json(manifest["configuration"])
    narrow = _narrowest(manifest, configuration)
    stateful = configuration.options.training or any(
        each["role"] == "optimizer_state" for each in manifest["arguments"]
    )
    chosen = precision or ("f64" if stateful and narrow == "f32" else "declared")
    computed = "f64" if chosen == "f64" else narrow
    values = load_values(folder, manifest)
    given = {name: value.clone() for name, value in values.items()}  # whatever a target does to them
    run: Executed = execute(given, chosen) if execute else simulate_folder(folder, manifest, chosen, given)

    def reference(precision: str) -> dict[str, Tensor]:
        if manifest["reference"] != "pytorch":
            return whole_program(folder, manifest, values, precision)
        dtype = torch.float64 if precision == "f64" else None
        return run_reference(configuration.model, configuration.options, values, dtype=dtype)

    exact = reference("f64") if computed in ("bf16", "f16") else None
    found = compare(reference(chosen), run.results, values, configuration.options.optimizer, computed, exact)
    comparisons = tuple(
        Comparison(name, described["role"], found[name].absolute, found[name].relative, run.disagreement[name])
        for described in manifest["results"]
        for name in [described["name"]]
    )
    limit = tolerance if tolerance is not None else _TOLERANCE[computed]
    promised = manifest["predicted"]["collectives"]
    return Outcome(comparisons, run.collectives, promised, computed, limit, manifest["reference"])


def _narrowest(manifest: Mapping[str, Any], configuration: Configuration) -> str:
    elements = {entry["element"] for entry in (*manifest["arguments"], *manifest["results"])}
    if configuration.options.autocast == "bf16" or "bf16" in elements:
        return "bf16"
    return "f16" if "f16" in elements else "f32"
