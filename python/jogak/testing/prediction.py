"""How well the cost model predicts plans that run: step time and memory, and whether the plan it prefers is the best.

Every plan of a model (the one that the search finds, and those that experts write) is compiled for a measured machine
and runs on processes of this machine with one thread each. A machine of which others take their part does not keep its
speed; with several rounds it is probed again in each, all plans run directly after, and medians of rounds are told.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from statistics import median
from typing import Any

from jogak.compiler import compile_configuration
from jogak.configuration import Configuration
from jogak.cost.machine_file import read_machine
from jogak.cost.model import cost_model
from jogak.ingress.importer import import_program
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ir.context import new_context, parse_file
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipelines import NORMALIZE
from jogak.partition.prices import Prices
from jogak.probe.run import probe
from jogak.registry import registry_of
from jogak.report.manifest import file_of, load_manifest
from jogak.report.output import write_output
from jogak.report.profile import write_profile
from jogak.report.promise import step_seconds
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
PROBE_TIMEOUT = 600.0


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


@dataclass(frozen=True)
class Taken:
    """What a plan was predicted to take with a machine file, and took directly after that was measured.

    Attributes:
        predicted: seconds of a step.
        wall: the same, measured.
        processor: processor seconds of a rank.
        memory: predicted and measured bytes.
    """

    predicted: float
    wall: float
    processor: float
    memory: tuple[int, int]


def take(folder: Path, steps: int, machine: Path) -> Taken:
    """Run a plan, and predict it for a machine file, which need not be the one that the plan was made for."""
    found = measure(folder, steps)
    step, memory = found["step"], found["memory"]
    predicted = predict(folder, machine)
    bytes_ = memory["predicted_bytes"], memory["measured_bytes"]
    return Taken(predicted, step["measured_s"], step["processor_s"], bytes_)


def predict(folder: Path, machine: Path) -> float:
    """Seconds of a step of a compiled plan on a machine."""
    manifest = load_manifest(folder)
    configuration = Configuration.from_json(manifest["configuration"])
    registry = registry_of(configuration.plugins)
    cost = cost_model(configuration.cost_model, read_machine(machine), Mesh.from_json(manifest["mesh"]), registry)
    module = parse_file(file_of(folder, manifest["modules"]["device"]), new_context())
    return step_seconds(main_function(module).operation, Prices(cost))


def middle(rounds: Sequence[Taken]) -> tuple[Taken, float]:
    """The medians over rounds, and the median ratio of measured to predicted: both of a round change together."""
    columns = zip(*((each.predicted, each.wall, each.processor) for each in rounds), strict=True)
    ratio = median(each.wall / each.predicted for each in rounds)
    predicted, wall, processor = map(median, columns)
    return Taken(predicted, wall, processor, max(each.memory for each in rounds)), ratio


def row(name: str, folder: Path, rounds: Sequence[Taken], share: float) -> str:
    """A line of the table.

    Args:
        share: ranks that share a core: a step takes that much longer than its processor time.
    """
    taken, ratio = middle(rounds)
    ratios = [each.wall / each.predicted for each in rounds]
    predicted, measured = taken.memory
    cells = [
        f"{name:22} {load_manifest(folder)['configuration']['mesh']:16}",
        f"{duration(taken.predicted):>10} {duration(taken.wall):>10}",
        f"{ratio:6.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        f"{duration(taken.processor * share):>10}",
        f"{size(predicted):>10} {size(measured):>10} {measured / predicted:6.3f}",
    ]
    return " ".join(cells)


def main() -> None:
    """Compile what is not there yet, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(MODELS), help="models; all of them by default")
    parser.add_argument("--nproc", type=int, default=4)
    parser.add_argument("--machine", type=Path, required=True, help="what jogak machine probe --nproc N wrote")
    parser.add_argument("--folder", type=Path, required=True, help="for the compiled plans, which are kept")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1, help="each probes the machine again, where there are several")
    parser.add_argument("--seconds", type=float, default=0.05, help="of each measurement of such a probe")
    parser.add_argument("--compile-only", action="store_true", help="leave the measurement to a later run")
    given = parser.parse_args()
    share = max(1.0, given.nproc / len(os.sched_getaffinity(0)))
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in given.names:
        _run(name, given, share)


def _run(name: str, given: Any, share: float) -> None:
    spec, train = MODELS[name]
    print(f"{name}: {spec}, {given.nproc} processes")
    folders = {}
    for asked in plans(name, given.nproc):
        folder = folders[asked.plan] = given.folder / f"{name}-{given.nproc}-{asked.plan.replace(' ', '')}"
        if not folder.is_dir():
            compile_plan(spec, train, asked, given.nproc, given.machine, folder)
    if given.compile_only:
        return
    rounds: dict[str, list[Taken]] = {plan: [] for plan in folders}
    for number in range(given.rounds):
        machine = given.machine
        if given.rounds > 1:
            machine = given.folder / f"{name}-{given.nproc}-round-{number}.toml"
            machine.write_text(probe(given.nproc, given.seconds, 1.0, PROBE_TIMEOUT), encoding="utf-8")
        for plan, folder in folders.items():
            rounds[plan].append(take(folder, given.steps, machine))
    print(f"{'plan':39} {'predicted':>10} {'measured':>10}  ratio (of rounds)   processor  predicted   measured  ratio")
    for plan, folder in folders.items():
        print(row(plan, folder, rounds[plan], share))
    print(verdict([middle(each) for each in rounds.values()], list(folders)))


def verdict(rows: Sequence[tuple[Taken, float]], names: Sequence[str]) -> str:
    """How good the plan of the search is, which comes first, and which plans are predicted in another order."""
    best = min(taken.wall for taken, _ in rows)
    apart = max(abs(ratio - 1) for _, ratio in rows)
    wrong = [
        f"{first} before {second}, which takes {1 - b.wall / a.wall:.0%} less"
        for (first, (a, _)), (second, (b, _)) in permutations(zip(names, rows, strict=True), 2)
        if a.predicted < b.predicted and a.wall > b.wall
    ]
    order = "kept" if not wrong else f"changed: {'; '.join(wrong)}"
    return (
        f"auto takes {rows[0][0].wall / best:.3f}x of the fastest; predictions at most {apart:.0%} off; ranking {order}"
    )
