"""`jogak compile`: a model in, the program of each device out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jogak.configuration import PHASES, Configuration
from jogak.errors import JogakError, UsageError, unknown_name
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.sharding.mesh import Mesh

if TYPE_CHECKING:
    from jogak.compiler import Compilation

TARGETS = ("sim",)
_OPTIMIZERS = ("sgd", "adamw")
_LOSSES = ("cross_entropy", "mse")


def compile_command(
    model: Annotated[str, typer.Argument(help="zoo:NAME, hf:NAME, file.py:callable, a .pt2, .onnx or .mlir file")],
    devices: Annotated[int | None, typer.Option(help="number of devices, as one mesh axis `data`")] = None,
    mesh: Annotated[str | None, typer.Option(help="mesh axes with sizes: data=2,model=4")] = None,
    train: Annotated[str | None, typer.Option(help="make a training step: sgd or adamw")] = None,
    loss: Annotated[str | None, typer.Option(help="loss on the model's output: cross_entropy or mse")] = None,
    learning_rate: Annotated[float, typer.Option(help="of the optimizer")] = 1e-3,
    momentum: Annotated[float, typer.Option(help="of SGD")] = 0.0,
    betas: Annotated[tuple[float, float], typer.Option(help="of AdamW")] = (0.9, 0.999),
    eps: Annotated[float, typer.Option(help="of AdamW")] = 1e-8,
    weight_decay: Annotated[float, typer.Option(help="of the optimizer")] = 0.0,
    autocast: Annotated[str | None, typer.Option(help="mixed precision: bf16")] = None,
    shard: Annotated[list[str] | None, typer.Option(help="PATTERN=SPEC, e.g. 'blocks.*.up.weight=[model, _]'")] = None,
    constraints: Annotated[Path | None, typer.Option(help="TOML file of constraints")] = None,
    seed: Annotated[int, typer.Option(help="of weights and inputs that the model does not bring")] = 0,
    target: Annotated[str, typer.Option(help="what the programs run on: sim")] = "sim",
    compile_to: Annotated[str, typer.Option(help=f"stop after a phase: {', '.join(PHASES)}")] = PHASES[-1],
    load_plugin: Annotated[list[str] | None, typer.Option(help="a .py file or a module with a plug-in")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="folder to write (a file with --compile-to)")] = None,
    force: Annotated[bool, typer.Option(help="replace an earlier output")] = False,
) -> int:
    """Compile MODEL for the devices of a mesh and write the output folder."""
    optimizer = _optimizer(train, learning_rate, momentum, betas, eps, weight_decay)
    options = ImportOptions(optimizer, _choice("--loss", loss, _LOSSES), _choice("--autocast", autocast, ("bf16",)), seed)  # type: ignore[arg-type]
    requests = _requests(shard or [], constraints)
    configuration = Configuration(model, str(_mesh(devices, mesh)), options, requests, target, load_plugin or [])
    _choice("--target", target, TARGETS)
    _choice("--compile-to", compile_to, PHASES)
    if compile_to != PHASES[-1]:
        return _print_phase(configuration, compile_to, output)
    if output is None:
        raise UsageError("no output folder", hint="add -o DIR")
    return _write(configuration, output, force=force)


def _choice(option: str, value: str | None, known: tuple[str, ...]) -> str | None:
    if value is not None and value not in known:
        error = unknown_name(f"value of {option}", value, known)
        raise UsageError(error.message, hint=error.hint)
    return value


def _optimizer(
    kind: str | None, rate: float, momentum: float, betas: tuple[float, float], eps: float, decay: float
) -> Optimizer | None:
    _choice("--train", kind, _OPTIMIZERS)
    return None if kind is None else Optimizer(kind, rate, momentum, betas, eps, decay)  # type: ignore[arg-type]


def _mesh(devices: int | None, mesh: str | None) -> Mesh:
    if mesh is None and devices is None:
        raise UsageError("neither --devices nor --mesh is given", hint="--mesh data=2,model=2, or --devices 4")
    if mesh is None:
        return Mesh(("data",), (devices or 0,))
    parsed = Mesh.parse(mesh)
    if devices is not None and parsed.devices != devices:
        relation = "larger" if parsed.devices > devices else "smaller"
        raise JogakError(
            f"the mesh has {parsed.devices} devices, {relation} than --devices {devices}",
            where=f"--mesh {mesh}",
            hint="drop --devices, or make the sizes of the axes multiply to it",
        )
    return parsed


def _requests(shard: list[str], constraints: Path | None) -> list[tuple[str, str]]:
    """Every constraint as text with its source; those of the command line come last and win."""
    from jogak.sharding.constraints import Constraint, read_constraints

    from_file = [] if constraints is None else read_constraints(constraints)
    given = [*from_file, *(Constraint.parse(text) for text in shard)]
    return [(f"{each.pattern}={each.spec}", each.source) for each in given]


def _progress(phase: str) -> None:
    if sys.stderr.isatty():
        print(f"jogak: {phase} ...", file=sys.stderr)


def _print_phase(configuration: Configuration, phase: str, output: Path | None) -> int:
    """The program after a phase, as text that can be edited and fed back in."""
    from jogak.compiler import compile_configuration
    from jogak.ir.module import print_module

    made = compile_configuration(configuration, stop_after=phase, progress=_progress)
    text = print_module(made.program, elide=None, locations=True)
    if output is None or str(output) == "-":
        print(text, end="")
    else:
        output.write_text(text, encoding="utf-8")
    _tell_warnings(made)
    return 0


def _write(configuration: Configuration, folder: Path, *, force: bool) -> int:
    from jogak.report.output import check_target

    check_target(folder, force=force)
    from jogak.compiler import compile_configuration
    from jogak.report.output import write_output
    from jogak.report.summary import summary

    made = compile_configuration(configuration, progress=_progress)
    _progress("write")
    write_output(made, folder)
    _tell_warnings(made)
    print(summary(made, folder))
    return 0


def _tell_warnings(made: Compilation) -> None:
    for diagnostic in made.diagnostics:
        print(diagnostic.render(), file=sys.stderr)
