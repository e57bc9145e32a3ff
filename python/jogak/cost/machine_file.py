"""Reading machine files: the presets that ship with Jogak, and the user's own."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from math import inf
from pathlib import Path
from typing import Any

from jogak.cost.collectives import Topology
from jogak.cost.machine import Achieved, Device, Level, Machine, Measured
from jogak.cost.schema import check
from jogak.errors import JogakError, unknown_name

DEFAULT_MACHINE = "a100-80g"
_FOLDER = files("jogak") / "machines"


@cache
def schema() -> Mapping[str, Any]:
    """The JSON Schema of machine files."""
    return dict(json.loads((_FOLDER / "machine.schema.json").read_text(encoding="utf-8")))


def presets() -> list[str]:
    """The names of the machines that ship with Jogak."""
    return sorted(entry.name.removesuffix(".toml") for entry in _FOLDER.iterdir() if entry.name.endswith(".toml"))


def load_machine(machine: str) -> Machine:
    """The machine of a preset's name or a file's path, which ends in `.toml`.

    Raises:
        JogakError: there is no such preset or file, or the file is not a valid machine file.
    """
    if machine.endswith(".toml"):
        return read_machine(Path(machine))
    if machine not in presets():
        error = unknown_name("machine", machine, presets())
        raise JogakError(error.message, where="machine", hint=f"{error.hint}; a file of your own ends in .toml")
    return parse_machine((_FOLDER / f"{machine}.toml").read_text(encoding="utf-8"), f"{machine}.toml")


def read_machine(path: Path) -> Machine:
    """Read a machine file.

    Raises:
        JogakError: it cannot be read, or is not a valid machine file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = "jogak machine list names the machines that ship with Jogak"
        raise JogakError("there is no such machine file", where=str(path), hint=hint) from None
    except OSError as error:
        raise JogakError(f"cannot read the machine file: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise JogakError(f"not valid UTF-8: {error}", where=str(path), hint="a machine file is TOML") from None
    return parse_machine(text, str(path))


def parse_machine(text: str, where: str) -> Machine:
    """Read the text of a machine file.

    Args:
        where: the file, for errors.

    Raises:
        JogakError: it is not TOML, or not a machine file; the first wrong key is named.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise JogakError(f"not valid TOML: {error}", where=where, hint="docs/machine-files.md has an example") from None
    check(data, schema(), where)
    machine = _machine(data)
    _check_levels(machine, where)
    return machine


def _machine(data: Mapping[str, Any]) -> Machine:
    device = data["device"]
    collectives = data.get("collectives", {})
    return Machine(
        name=data["name"],
        description=data["description"],
        sources=tuple(data["sources"]),
        device=Device(
            int(device["memory_bytes"]),
            device["memory_bandwidth"],
            tuple(device["flops"].items()),
            device.get("kernel_overhead", 0.0),
            tuple(device.get("overheads", {}).items()),
            device.get("special_rate", inf),
            device.get("fused", True),
            tuple(device.get("traffic", {}).items()),
        ),
        levels=tuple(_level(entry["name"], entry) for entry in data["levels"]),
        achieved=Achieved(**data.get("achieved", {})),
        axes=tuple((axis, _level(f"axis {axis}", entry)) for axis, entry in data.get("axes", {}).items()),
        latency_once=collectives.get("latency") == "once",
        constants=tuple(collectives.get("constants", {}).items()),
        measured=tuple(Measured(**entry) for entry in collectives.get("measured", [])),
        overlap=collectives.get("overlap", True),
    )


def _level(name: str, entry: Mapping[str, Any]) -> Level:
    size = int(entry["size"]) if "size" in entry else None
    return Level(name, entry["bandwidth"], entry["latency"], size, Topology(entry.get("topology", Topology.SWITCH)))


def _check_levels(machine: Machine, where: str) -> None:
    """What the schema cannot say."""
    names = [level.name for level in machine.levels]
    for number, level in enumerate(machine.levels):
        if level.size is None and number + 1 < len(names):
            hint = f"give the size of {level.name!r}, or drop the levels behind it"
            message = f"levels[{number}] has no size, so nothing is left for the next level"
            raise JogakError(message, where=where, hint=hint)
        if names.index(level.name) < number:
            hint = "give every level a name of its own"
            raise JogakError(f"levels[{number}]: the name {level.name!r} is taken", where=where, hint=hint)
