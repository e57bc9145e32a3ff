"""`jogak machine`: the machines that ship with Jogak, what is in a machine file, and whether it is valid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jogak.errors import JogakError, UsageError

if TYPE_CHECKING:
    from jogak.cost.machine import Level, Machine
    from jogak.sharding.mesh import Mesh

machine_commands = typer.Typer(help="List, show or validate machines.", rich_markup_mode=None)


@machine_commands.command("list")
def list_machines() -> int:
    """List the machines that ship with Jogak."""
    from jogak.cost.machine_file import DEFAULT_MACHINE, load_machine, presets

    for name in presets():
        default = " (the default)" if name == DEFAULT_MACHINE else ""
        print(f"{name:18} {load_machine(name).description}{default}")
    return 0


@machine_commands.command("show")
def show(
    machine: Annotated[str, typer.Argument(help="a name that jogak machine list prints, or a machine file")],
    mesh: Annotated[str | None, typer.Option(help="also what collectives cost on a mesh: data=2,model=8")] = None,
) -> int:
    """Show the numbers of a machine and where they are from."""
    from jogak.cost.machine_file import load_machine
    from jogak.sharding.mesh import Mesh

    loaded = load_machine(machine)
    lines = [f"{loaded.name}: {loaded.description}", *_numbers(loaded)]
    if mesh is not None:
        lines += _prices(loaded, Mesh.parse(mesh))
    print("\n".join([*lines, "  sources", *(f"    {source}" for source in loaded.sources)]))
    return 0


@machine_commands.command("validate")
def validate(file: Annotated[Path, typer.Argument(help="a machine file")]) -> int:
    """Check a machine file; the first mistake is told with its place and the nearest valid key."""
    from jogak.cost.machine_file import read_machine

    machine = read_machine(file)
    print(f"{file}: a valid machine file, {machine.name!r} with {_count(machine.devices)} devices")
    return 0


@machine_commands.command("probe")
def probe_machine(
    output: Annotated[Path, typer.Option("-o", "--output", help="machine file to write; must not exist")],
    nproc: Annotated[int, typer.Option(help="processes, each with one thread, that work at once")] = 2,
    seconds: Annotated[float, typer.Option(help="of each of about 100 measurements, made three times")] = 0.1,
    scale: Annotated[float, typer.Option(help="of all sizes, for a quick look: 0.1")] = 1.0,
    timeout: Annotated[float, typer.Option(help="seconds that everything may take")] = 600.0,
) -> int:
    """Measure this machine: kernels, memory and collectives of all processes at once."""
    for option, value in (("--nproc", nproc - 0.5), ("--seconds", seconds), ("--scale", scale), ("--timeout", timeout)):
        if not value > 0:
            raise UsageError("is not a positive number", where=option, hint="leave it out for the default")
    if output.suffix != ".toml":
        raise UsageError("the name of a machine file ends in .toml", where=str(output), hint="-o machine.toml")
    if output.exists():
        raise JogakError("exists already", where=str(output), hint="choose another name with -o, or remove it")
    from jogak.cost.machine_file import parse_machine
    from jogak.probe.run import probe
    from jogak.report.output import write_text

    text = probe(nproc, seconds, scale, timeout)
    machine = parse_machine(text, str(output))
    write_text(output, text)
    print("\n".join([f"{output}: {machine.description}", *_numbers(machine)]))
    return 0


def _count(number: int | None) -> str:
    return "as many as wanted" if number is None else str(number)


def _numbers(machine: Machine) -> Iterator[str]:
    device, achieved = machine.device, machine.achieved
    yield f"  memory            {device.memory_bytes} bytes, {device.memory_bandwidth:.4g} bytes/s"
    for element, rate in device.flops:
        yield f"  {element:17} {rate:.4g} operations/s"
    yield f"  special functions {device.special_rate:.4g} a second"
    for form, seconds in device.overheads:
        yield f"  {form + ' takes':17} {seconds:.3g} s besides its work"
    for form, rate in device.traffic:
        yield f"  {form + ' moves':17} {rate:.3g} bytes/s besides its arithmetic"
    yield f"  kernel overhead   {device.kernel_overhead:.3g} s, for each {'op' if device.fused else 'operation'}"
    yield (
        f"  achieved          {achieved.compute:.0%} of arithmetic, {achieved.memory:.0%} of memory, "
        f"{achieved.network:.0%} of links, {achieved.convolution or achieved.compute:.0%} of arithmetic in convolutions"
    )
    for level in machine.levels:
        yield f"  level {level.name:11} of {_count(level.size)}: {_link(level)}"
    for axis, level in machine.axes:
        yield f"  axis {axis:12} {_link(level)}"
    latency = "once for each collective" if machine.latency_once else "for each step of a collective"
    yield f"  latency counts    {latency}"
    for kind, constant in machine.constants:
        yield f"  {kind:17} takes {constant:.3g} s besides"
    for each in machine.measured:
        yield f"  {each.kind:17} of {each.devices} takes {each.latency:.3g} s + 1 s for {each.bandwidth:.4g} bytes"
    yield f"  collectives run   {'beside kernels' if machine.overlap else 'on the cores that compute'}"


def _link(level: Level) -> str:
    return f"{level.topology}, {level.bandwidth:.4g} bytes/s, {level.latency:.3g} s"


def _prices(machine: Machine, mesh: Mesh) -> Iterator[str]:
    """For each axis its levels, and for each collective on it the algorithms with their alpha and beta."""
    from jogak.cost.collectives import KINDS
    from jogak.cost.model import Roofline

    machine.check_mesh(mesh)
    cost = Roofline(machine, mesh)
    for axis, links in machine.axis_links(mesh).items():
        levels = ", ".join(f"{parts} on {level.name!r}" for level, parts in links) or "a single device"
        yield f"  {axis}={mesh.sizes[axis]}: {levels}"
        for kind in KINDS:
            for formula in cost.formulas(kind, (axis,)):
                yield f"    {kind:14} {formula.algorithm:12} {formula.alpha:.3e} s + {formula.beta:.3e} s/byte"
