"""The program of one micro-batch: partitioned along time as others are along devices.

Micro-batches are data parallelism on one device, in turns. So the program of one is what partition makes for a mesh of
one axis: every op on its part of the batch, and an all-reduce wherever the parts come together. That is a gradient, the
mean of a loss, or the number of labels in it, which a mean over micro-batches would get wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch_mlir import ir

from jogak.cost.kernel import PLAIN, Arithmetic
from jogak.cost.machine import Machine
from jogak.cost.machine_file import DEFAULT_MACHINE, load_machine
from jogak.ir.grid import declare_mesh
from jogak.ir.module import main_function
from jogak.microbatch.batch import axis_of, seeds
from jogak.partition.optimize.merging import merge_reductions
from jogak.partition.partition import partition
from jogak.plugin import RuleFunction
from jogak.sharding.annotation import CONSTRAINT, annotate, read_arguments
from jogak.sharding.mesh import Mesh
from jogak.sharding.propagation import propagate
from jogak.sharding.reading import read_graph

KEPT = "jogak.kept_constraint"
"""Where a constraint for the mesh of devices waits until the micro-batches are made."""


@dataclass(frozen=True)
class Turns:
    """Prices along time: a sum is nearly free, since it is an addition; whatever else joins micro-batches is not."""

    machine: Machine
    mesh: Mesh

    def __hash__(self) -> int:
        return hash((Turns, self.mesh))

    def collective(self, kind: str, axes: tuple[str, ...], bytes_: float) -> float:
        return 1e-12 * bytes_ if kind == "all_reduce" else 1.0 + bytes_

    def kernel(self, element: str, flops: float, bytes_: float, arithmetic: Arithmetic = PLAIN) -> float:
        return 1e-15 * (flops + bytes_)

    def copy(self, bytes_: float) -> float:
        return 1e-15 * bytes_


def one_turn(module: ir.Module, count: int, rules: Mapping[str, RuleFunction]) -> ir.Operation:
    """The program of one of `count` micro-batches, with collectives along time: a module of its own.

    Raises:
        JogakError: the batch cannot be cut so.
    """
    mesh = axis_of(count)
    turn = module.operation.clone()
    declare_mesh(turn, mesh)
    function = main_function(turn).operation
    for view in function.regions[0].blocks[0].operations:
        _rename(view.operation, CONSTRAINT, KEPT)
    reading = read_graph(function, rules)
    annotate(function, reading, propagate(reading.graph, mesh, seeds(read_arguments(function), count)).shardings, mesh)
    partition(turn, function, mesh, rules, Turns(load_machine(DEFAULT_MACHINE), mesh))
    merge_reductions(function)
    return turn


def _rename(op: ir.Operation, old: str, new: str) -> None:
    if old in op.attributes:
        op.attributes[new] = op.attributes[old]
        del op.attributes[old]
