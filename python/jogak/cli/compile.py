"""`jogak compile`: a model in, the program of each device out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jogak.cli.display import Display
from jogak.configuration import AUTOCASTS, LOSSES, OPTIMIZERS, PHASES, Configuration, what_is_searched
from jogak.cost.machine_file import DEFAULT_MACHINE
from jogak.cost.model import ROOFLINE
from jogak.errors import JogakError, UsageError, unknown_name
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.registry import registry_of
from jogak.sharding.mesh import Mesh

if TYPE_CHECKING:
    from jogak.compiler import Compilation

_SETTINGS = {
    "sgd": ("learning_rate", "momentum", "weight_decay"),
    "adamw": ("learning_rate", "betas", "eps", "weight_decay"),
}


def compile_command(
    model: Annotated[str, typer.Argument(help="zoo:NAME, hf:NAME, file.py:callable, a .pt2, .onnx or .mlir file")],
    devices: Annotated[int | None, typer.Option(help="number of devices; their arrangement is searched")] = None,
    mesh: Annotated[str | None, typer.Option(help="mesh axes with sizes: data=2,model=4")] = None,
    search: Annotated[
        bool | None,
        typer.Option(
            "--search/--no-search",
            help="search what the constraints leave open, or let them only propagate; searched without constraints",
        ),
    ] = None,
    search_time_limit: Annotated[float, typer.Option(help="seconds of the solver on one mesh")] = 20.0,
    search_gap: Annotated[float, typer.Option(help="stop when so near to the bound, as a share: 0.01")] = 0.0,
    machine: Annotated[str, typer.Option(help="preset (jogak machine list) or a machine file")] = DEFAULT_MACHINE,
    cost_model: Annotated[str, typer.Option(help="what prices programs (jogak plugins lists them)")] = ROOFLINE,
    memory: Annotated[str, typer.Option(help="of a device: auto (the machine's), 16GiB, 0.5x, min")] = "auto",
    micro_batches: Annotated[
        str, typer.Option(help="parts in which a training step takes its batch; auto: as the memory asks for")
    ] = "auto",
    train: Annotated[str | None, typer.Option(help="make a training step: sgd or adamw")] = None,
    loss: Annotated[str | None, typer.Option(help="loss on the model's output: cross_entropy or mse")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="of the optimizer; 0.001 by default")] = None,
    momentum: Annotated[float | None, typer.Option(help="of sgd; 0 by default")] = None,
    betas: Annotated[tuple[float, float] | None, typer.Option(help="of adamw; 0.9 0.999 by default")] = None,
    eps: Annotated[float | None, typer.Option(help="of adamw; 1e-8 by default")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="of the optimizer; 0 by default")] = None,
    autocast: Annotated[str | None, typer.Option(help="mixed precision: bf16")] = None,
    shard: Annotated[list[str] | None, typer.Option(help="PATTERN=SPEC, e.g. 'blocks.*.up.weight=[model, _]'")] = None,
    constraints: Annotated[Path | None, typer.Option(help="TOML file of constraints")] = None,
    seed: Annotated[int, typer.Option(help="of weights and inputs that the model does not bring")] = 0,
    target: Annotated[
        str, typer.Option(help="what runs the programs: sim, torch, iree, iree-cuda, iree-rocm, iree-vulkan")
    ] = "sim",
    compile_to: Annotated[str, typer.Option(help=f"stop after a phase: {', '.join(PHASES)}")] = PHASES[-1],
    load_plugin: Annotated[list[str] | None, typer.Option(help="a .py file or a module with a plug-in")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="folder; a file with --compile-to")] = None,
    force: Annotated[bool, typer.Option("--force", help="replace an earlier output")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="what cannot be split as asked is an error")] = False,
) -> int:
    """Compile MODEL for the devices of a mesh and write the output folder."""
    given = {
        "learning_rate": learning_rate,
        "momentum": momentum,
        "betas": betas,
        "eps": eps,
        "weight_decay": weight_decay,
    }
    optimizer = _optimizer(train, {name: value for name, value in given.items() if value is not None})
    if loss is not None and train is None:
        raise UsageError("a loss is for training", where="--loss", hint="add --train sgd or --train adamw")
    options = ImportOptions(optimizer, choice("--loss", loss, LOSSES), choice("--autocast", autocast, AUTOCASTS), seed)  # type: ignore[arg-type]
    choice("--compile-to", compile_to, PHASES)
    if compile_to == PHASES[-1] and output is None:
        raise UsageError("no output folder is given", where="jogak compile", hint="add -o DIR")
    requests = _requests(shard or [], constraints)
    if not search_time_limit > 0:
        raise UsageError(f"{search_time_limit:g} seconds are not positive", where="--search-time-limit")
    if not 0 <= search_gap < 1:
        raise UsageError(f"{search_gap:g} is not a share from 0 to 1", where="--search-gap", hint="give 0.01 for 1 %")
    searched = what_is_searched(search, mesh_given=mesh is not None, constrained=bool(requests))
    placed = str(_mesh(devices, mesh))
    configuration = Configuration(
        model,
        placed,
        options,
        requests,
        target,
        load_plugin or [],
        machine,
        cost_model,
        searched,
        search_time_limit,
        memory,
        _micro_batches(micro_batches),
        search_gap,
    )
    registry_of(configuration.plugins).target(target).require()
    if compile_to != PHASES[-1] or output is None:
        return _print_phase(configuration, compile_to, output, strict=strict)
    return _write(configuration, output, force=force, strict=strict)


def choice(option: str, value: str | None, known: tuple[str, ...]) -> str | None:
    """The value of an option that knows only some words.

    Raises:
        UsageError: it is none of them.
    """
    if value is not None and value not in known:
        error = unknown_name("value", value, known)
        raise UsageError(error.message, where=option, hint=error.hint)
    return value


def _optimizer(kind: str | None, given: dict[str, Any]) -> Optimizer | None:
    choice("--train", kind, OPTIMIZERS)
    if kind is None:
        for name in given:
            raise UsageError("is for training", where=_option(name), hint="add --train sgd or --train adamw")
        return None
    for name, value in given.items():
        if name not in _SETTINGS[kind]:
            known = ", ".join(map(_option, _SETTINGS[kind]))
            raise UsageError(f"{kind} has no {name}", where=_option(name), hint=f"{kind} takes {known}")
        _check_range(name, value)
    return Optimizer(kind, **given)  # type: ignore[arg-type]


def _micro_batches(text: str) -> int | None:
    """The number that is asked for; None for `auto`."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{text!r} is no number of micro-batches", where="--micro-batches", hint="auto, 1, 2, ...")
    return int(text)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _check_range(name: str, value: Any) -> None:
    """Optimizers divide by what betas and eps leave; torch refuses the same values."""
    if name == "betas" and not all(0 <= beta < 1 for beta in value):
        raise UsageError(f"the betas {value} are not in [0, 1)", where="--betas", hint="for example --betas 0.9 0.999")
    if name != "betas" and not 0 <= value < float("inf"):
        raise UsageError(f"{value} is not a number from 0", where=_option(name), hint="give a number from 0")


def _mesh(devices: int | None, mesh: str | None) -> Mesh:
    if mesh is None and devices is None:
        hint = "add --mesh data=2,model=2, or --devices 4"
        raise UsageError("neither --devices nor --mesh is given", where="jogak compile", hint=hint)
    if devices is not None and devices < 1:
        raise UsageError(f"{devices} devices cannot hold a program", where="--devices", hint="give a positive number")
    if mesh is None:
        return Mesh(("data",), (devices or 1,))
    try:
        parsed = Mesh.parse(mesh)
    except JogakError as error:
        raise JogakError(error.message, where=f"--mesh {mesh}", hint=error.hint) from None
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


def _compiled(configuration: Configuration, **options: Any) -> Compilation:
    """Compile, and show on a terminal how far it is."""
    from jogak.compiler import compile_configuration

    display = Display()
    try:
        return compile_configuration(configuration, progress=display.phase, watch=display.search, **options)
    finally:
        display.close()


def _print_phase(configuration: Configuration, phase: str, output: Path | None, *, strict: bool) -> int:
    """The program after a phase, as text that can be edited and fed back in."""
    if output is not None and output.is_dir():
        raise JogakError("is a folder", where=str(output), hint="--compile-to writes one file: name it with -o")
    from jogak.ir.module import print_module
    from jogak.report.output import write_text

    made = _compiled(configuration, stop_after=phase, strict=strict)
    text = print_module(made.device or made.program, elide=None, locations=True)
    _tell_warnings(made)
    if output is None or str(output) == "-":
        sys.stdout.write(text)
    else:
        write_text(output, text)
    return 0


def _write(configuration: Configuration, folder: Path, *, force: bool, strict: bool) -> int:
    from jogak.report.output import check_target

    check_target(folder, force=force)
    from jogak.report.output import write_output
    from jogak.report.summary import summary

    made = _compiled(configuration, strict=strict)
    Display().phase("write")
    write_output(made, folder)
    _tell_warnings(made)
    print(summary(made, folder))
    return 0


def _tell_warnings(made: Compilation) -> None:
    for diagnostic in made.diagnostics:
        print(diagnostic.render(), file=sys.stderr)
