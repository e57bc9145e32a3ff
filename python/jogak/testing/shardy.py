"""Collectives against Shardy's on the same programs with the same shardings, in one definition of bytes.

Bytes of a collective are those that a device receives from others, padding included: of a gather what it did not have,
of a reduction one piece of every other device, twice where all get the result, of a permute its new piece, of a halo
exchange the margins. So a gather of two dimensions brings as much as two gathers one after the other. Slices move
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch_mlir import ir

from jogak.cost.collectives import PERMUTE
from jogak.cost.machine_file import DEFAULT_MACHINE
from jogak.ingress.contract import name_the_unnamed
from jogak.ingress.stablehlo import read_stablehlo
from jogak.ir.context import new_context, parse_module
from jogak.ir.grid import declare_mesh, require_mesh
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipelines import NORMALIZE, partition_pipeline
from jogak.partition.prices import collectives_of
from jogak.runtime.kinds import HALO
from jogak.sharding.annotation import CONSTRAINT, extend_attributes
from jogak.sharding.mesh import Mesh
from jogak.testing.differential import Case, check_case

PROPAGATE = "builtin.module(jogak-propagate)"


@dataclass(frozen=True)
class Compared:
    """One program on both sides: kind of collective to (count, bytes received).

    Attributes:
        wrong: what differs from the whole program when all devices run it; empty when nothing does or it was not run.
    """

    name: str
    ours: Mapping[str, tuple[int, int]]
    theirs: Mapping[str, tuple[int, int]]
    wrong: str = ""

    @property
    def bytes(self) -> tuple[int, int]:
        """Ours and theirs."""
        return sum(b for _, b in self.ours.values()), sum(b for _, b in self.theirs.values())


def compare(entry: Mapping[str, Any], *, check: bool, machine: str = DEFAULT_MACHINE) -> Compared:
    """Compile a program that the peer printed, and count.

    Args:
        entry: a line of the peer's output: the program in StableHLO, mesh, shardings, and its collectives.
        check: whether to run it on all devices and as a whole.
        machine: preset or machine file that prices collectives.
    """
    mesh = Mesh(tuple(axis for axis, _ in entry["mesh"]), tuple(size for _, size in entry["mesh"]))
    module = annotated(entry["stablehlo"], mesh, entry["inputs"], entry["results"])
    wrong = ""
    if check:
        mismatch = check_case(Case(_whole(entry["stablehlo"]), str(module), mesh, 0))
        wrong = "" if mismatch is None else mismatch.message
    theirs = {
        kind: (len(made), sum(received(kind, bytes_, devices) for bytes_, devices in made))
        for kind, made in entry["shardy"].items()
    }
    return Compared(entry["name"], counted(module, machine), theirs, wrong)


def _normalized(stablehlo: str) -> ir.Module:
    module, _ = read_stablehlo(stablehlo, new_context(), "program")
    name_the_unnamed(module)
    run_pipeline(module, NORMALIZE)
    return module


def _whole(stablehlo: str) -> str:
    return str(_normalized(stablehlo))


def annotated(stablehlo: str, mesh: Mesh, inputs: Sequence[str], results: Sequence[str | None]) -> ir.Module:
    """The normalized program on a mesh, with the shardings of its inputs and results as constraints."""
    module = _normalized(stablehlo)
    declare_mesh(module, mesh)
    function = main_function(module).operation
    count = len(ir.FunctionType(ir.TypeAttr(function.attributes["function_type"]).value).results)
    asked = [*results, *[None] * (count - len(results))]
    with module.context:
        extend_attributes(function, "arg_attrs", [{CONSTRAINT: ir.StringAttr.get(text)} for text in inputs])
        extend_attributes(
            function, "res_attrs", [{CONSTRAINT: ir.StringAttr.get(text)} if text else {} for text in asked]
        )
    return module


def counted(module: ir.Module, machine: str = DEFAULT_MACHINE) -> dict[str, tuple[int, int]]:
    """The collectives of a program after propagation and partition, by kind: (count, bytes received)."""
    device = parse_module(str(module), new_context())
    run_pipeline(device, PROPAGATE)
    run_pipeline(device, partition_pipeline(f"machine={machine}"))
    mesh = require_mesh(device)
    found: dict[str, tuple[int, int]] = {}
    for each in collectives_of(main_function(device).operation, mesh):
        count, total = found.get(each.kind, (0, 0))
        found[each.kind] = count + 1, total + received(each.kind, each.bytes, mesh.size(each.axes))
    return found


def received(kind: str, bytes_: int, devices: int) -> int:
    """Bytes that a device gets from others.

    Args:
        bytes_: the larger of what a device puts in and gets out; the margins of a halo exchange.
        devices: of a group.
    """
    if kind in (PERMUTE, HALO):
        return bytes_
    return bytes_ * (devices - 1) // devices * (2 if kind == "all_reduce" else 1)
