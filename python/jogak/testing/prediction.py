"""How well the cost model predicts plans that run: step time and memory, and whether the plan it prefers is the best.

Every plan of a model (the one that the search finds, and those that experts write) is compiled for a measured machine
and runs on processes of this machine with one thread each.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jogak.compiler import compile_configuration
from jogak.configuration import Configuration
from jogak.ingress.importer import import_program
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipelines import NORMALIZE
from jogak.report.manifest import load_manifest
from jogak.report.output import write_output
from jogak.report.profile import write_profile
from jogak.runtime.values import load_values
from jogak.sharding.annotation import read_arguments
from jogak.sharding.mesh import Mesh
from jogak.sharding.selection import Argument
from jogak.sharding.sharding import Sharding
from jogak.targets.target import Request
from jogak.targets.torch.target import Torch
from jogak.testing.experts import expert_seeds
from jogak.text import duration, size

MODELS: Mapping[str, tuple[str, str]] = {
    "gpt": ("zoo:gpt2?layers=2&heads=4&width=256&vocab=4096&context=128&sequence=128&batch=8", "adamw"),
    "llama": ("zoo:llama?layers=2&heads=4&kv_heads=2&width=256&hidden=512&vocab=2048&sequence=128&batch=8", "adamw"),
    "resnet": ("zoo:resnet?depth=18&width=16&image=32&classes=16&batch=16", "sgd"),
}
AUTO = "auto"


@dataclass(frozen=True)
class Asked:
    """A plan to compile: the expert's name (`auto` for the search) and the mesh; None where it is searched, too."""

    plan: str
    mesh: str | None


def plans(model: str, processes: int) -> Iterator[Asked]:
    """The plans that are compared for a model."""
    yield Asked(AUTO, None)
    yield Asked("data parallel", f"data={processes}")
    yield Asked("ZeRO-3", f"data={processes}")
    if model != "resnet":
        yield Asked("Megatron", f"data=1,model={processes}")
        if processes >= 4:
            yield Asked("Megatron + ZeRO-3", f"data={processes // 2},model=2")


def compile_plan(spec: str, train: str, asked: Asked, processes: int, machine: Path, folder: Path) -> None:
    """Compile one plan into a folder."""
    options = ImportOptions(Optimizer(train))  # type: ignore[arg-type]
    common = Configuration(spec, "", options, target="torch", machine=str(machine), search_seconds=10.0)
    if asked.mesh is None:
        configuration = replace(common, mesh=f"data={processes}", searched="mesh")
    else:
        mesh = Mesh.parse(asked.mesh)
        constraints = list(_constraints(spec, options, asked, mesh))
        split = ",".join(f"{axis}={size_}" for axis, size_ in mesh.sizes.items() if size_ > 1)
        configuration = replace(common, mesh=split, constraints=constraints, searched="plan")
    write_output(compile_configuration(configuration), folder)


def _constraints(spec: str, options: ImportOptions, asked: Asked, mesh: Mesh) -> Iterator[tuple[str, str]]:
    arguments = _arguments(spec, options)
    for seed in expert_seeds(asked.plan, arguments, mesh):
        argument = arguments[seed.value]
        dims = [tuple(axis for axis in dim.axes if mesh.sizes[axis] > 1) for dim in seed.dims]
        placed = Sharding(tuple(_as_the_user_knows_it(dims, argument)))
        yield f"{argument.name}={placed}", asked.plan


def _as_the_user_knows_it(dims: Sequence[tuple[str, ...]], argument: Argument) -> Iterator[tuple[str, ...]]:
    """The axes of the dimensions that a parameter has in PyTorch: of a fused projection the program made two of one."""
    parts = list(zip(argument.shape, dims, strict=True))
    for size_ in argument.logical:
        held, axes = parts.pop(0)
        while held < size_:
            part, own = parts.pop(0)
            held, axes = held * part, axes + own
        yield axes


def _arguments(spec: str, options: ImportOptions) -> Sequence[Argument]:
    module = import_program(spec, options).module
    run_pipeline(module, NORMALIZE)
    return read_arguments(main_function(module).operation)


def measure(folder: Path, steps: int) -> dict[str, Any]:
    """Run a compiled plan; returns the content of its profile.json."""
    manifest = load_manifest(folder)
    done = Torch().execute(folder, manifest, load_values(folder, manifest), Request(steps=steps, profile=True))
    return write_profile(folder, manifest, done.profiles, done.program).to_json()


def row(name: str, folder: Path, share: float) -> tuple[str, float, float]:
    """A line of the table, with the predicted and the measured seconds of the wall.

    Args:
        share: ranks that share a core: a step takes that much longer than its processor time.
    """
    found = json.loads((folder / "profile.json").read_text(encoding="utf-8"))
    step, memory = found["step"], found["memory"]
    used = step["processor_s"] * share
    cells = [
        f"{name:22} {load_manifest(folder)['configuration']['mesh']:16}",
        f"{duration(step['predicted_s']):>10} {duration(step['measured_s']):>10}",
        f"{step['measured_s'] / step['predicted_s']:6.2f} {duration(used):>10} {used / step['predicted_s']:6.2f}",
        f"{size(memory['predicted_bytes']):>10} {size(memory['measured_bytes']):>10}",
        f"{memory['measured_bytes'] / memory['predicted_bytes']:6.3f}",
    ]
    return " ".join(cells), step["predicted_s"], step["measured_s"]


def main() -> None:
    """Compile what is not there yet, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(MODELS), help="models; all of them by default")
    parser.add_argument("--nproc", type=int, default=4)
    parser.add_argument("--machine", type=Path, required=True, help="what jogak machine probe --nproc N wrote")
    parser.add_argument("--folder", type=Path, required=True, help="for the compiled plans, which are kept")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--compile-only", action="store_true", help="leave the measurement to a later run")
    given = parser.parse_args()
    share = max(1.0, given.nproc / len(os.sched_getaffinity(0)))
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in given.names:
        _run(name, given, share)


def _run(name: str, given: Any, share: float) -> None:
    spec, train = MODELS[name]
    print(f"{name}: {spec}, {given.nproc} processes")
    print(f"{'plan':39} {'predicted':>10} {'measured':>10}  ratio  processor  ratio  predicted   measured  ratio")
    rows = []
    for asked in plans(name, given.nproc):
        folder = given.folder / f"{name}-{given.nproc}-{asked.plan.replace(' ', '')}"
        if not folder.is_dir():
            compile_plan(spec, train, asked, given.nproc, given.machine, folder)
        if given.compile_only:
            continue
        measure(folder, given.steps)
        rows.append(row(asked.plan, folder, share))
        print(rows[-1][0], flush=True)
    if rows:
        _verdict(rows)


def _verdict(rows: Sequence[tuple[str, float, float]]) -> None:
    best = min(taken for _, _, taken in rows)
    predicted = sorted(range(len(rows)), key=lambda at: rows[at][1])
    found = sorted(range(len(rows)), key=lambda at: rows[at][2])
    apart = max(abs(taken / told - 1) for _, told, taken in rows)
    print(
        f"auto takes {rows[0][2] / best:.3f}x of the fastest; predictions at most {apart:.0%} off; "
        f"ranking {'kept' if predicted == found else 'changed'}"
    )
