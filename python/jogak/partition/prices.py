"""What the ops of a per-device program cost: collectives that move data, and the kernels of everything else.

The search's final plans, recomputation, the promise and every report take their prices from here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from torch_mlir import ir

from jogak.cost.collectives import PERMUTE
from jogak.cost.kernel import Arithmetic
from jogak.cost.machine import computing_element
from jogak.cost.model import CostModel
from jogak.ir.fingerprint import fingerprint
from jogak.ir.grid import axis_lists
from jogak.ir.permute import is_permute
from jogak.ir.structured import Structured, arithmetic_of, element_of, is_tensor, is_view, shape_of
from jogak.memory.reading import bytes_of
from jogak.runtime.kinds import COMMUNICATION, HALO
from jogak.sharding.mesh import Mesh
from jogak.sharding.reading import is_free
from jogak.sharding.rules import tensor_operands

_FREE = {"tensor.empty", "arith.constant", "func.return", "shard.process_multi_index"}


@dataclass(frozen=True)
class Collective:
    """One collective of a per-device program.

    Attributes:
        kind: name of the `shard` op; `permute` for a send and the receive of what it leaves.
        axes: mesh axes of its groups.
        bytes: the larger of what a device puts in and gets out.
        op: the op.
    """

    kind: str
    axes: tuple[str, ...]
    bytes: int
    op: ir.Operation


def as_collective(op: ir.Operation, mesh: Mesh) -> Collective | None:
    """An op as a collective that moves data; None when it is none."""
    dialect, _, kind = op.name.partition(".")
    if is_permute(op):
        kind = PERMUTE
    if dialect != "shard" or kind not in COMMUNICATION:
        return None
    if kind == "update_halo":
        return _halo(op, mesh)
    axes = tuple(mesh.axes[int(number)] for number in op.attributes["grid_axes"])
    return Collective(kind, axes, max(bytes_of(op.operands[0]), bytes_of(op.results[0])), op)


def collectives_of(function: ir.Operation, mesh: Mesh) -> Iterator[Collective]:
    """Every collective of a per-device program that moves data, in order."""
    for view in function.regions[0].blocks[0].operations:
        collective = as_collective(view.operation, mesh)
        if collective is not None:
            yield collective


def _halo(op: ir.Operation, mesh: Mesh) -> Collective:
    """An exchange along one dimension: its bytes are those of the two margins."""
    split = axis_lists(op.attributes["split_axes"])
    (dim,) = [number for number, axes in enumerate(split) if axes]
    low, high = ir.DenseI64ArrayAttr(op.attributes["static_halo_sizes"])
    axes = tuple(mesh.axes[number] for number in split[dim])
    moved = bytes_of(op.results[0]) * (low + high) // shape_of(op.results[0])[dim]
    return Collective(HALO, axes, moved, op)


def seconds_of(collective: Collective, cost: CostModel) -> float:
    """Predicted seconds; neighbours exchange their margins by sending."""
    kind = "send" if collective.kind == HALO else collective.kind
    return cost.collective(kind, collective.axes, collective.bytes)


class Prices:
    """What ops of per-device programs of one context cost. Ops that are built alike are read once."""

    def __init__(self, cost: CostModel) -> None:
        self.cost = cost
        self._known: dict[Hashable, _Said] = {}
        self._bytes: dict[ir.Type, int] = {}

    def seconds(self, op: ir.Operation) -> float:
        """Seconds of an op: of its kernel, or of its collective."""
        collective = as_collective(op, self.cost.mesh)
        return self.kernel(op) if collective is None else seconds_of(collective, self.cost)

    def kernel(self, op: ir.Operation) -> float:
        """Seconds of the kernel of an op; 0 where it has none."""
        if op.name in _FREE or is_view(op) or op.name.startswith("shard.") or (op.results and is_free(op.results[0])):
            return 0.0
        # What every device makes for itself (an empty tensor, a constant fill) is part of the kernel that uses it.
        read = dict.fromkeys(value for value in tensor_operands(op) if not is_free(value))
        said = self._said(op)
        return self.cost.kernel(
            said.element, said.flops, sum(map(self._bytes_of, [*read, *op.results])), said.arithmetic
        )

    def flops(self, op: ir.Operation) -> float:
        """Arithmetic operations of an op."""
        return self._said(op).flops if op.name == "linalg.generic" else 0.0

    def _said(self, op: ir.Operation) -> _Said:
        found = fingerprint(op) if op.name == "linalg.generic" else None
        if found is None:
            return _read(op)
        if found.key not in self._known:
            self._known[found.key] = _read(op)
        return self._known[found.key]

    def _bytes_of(self, value: ir.Value) -> int:
        type_ = value.type
        if type_ not in self._bytes:
            self._bytes[type_] = bytes_of(value)
        return self._bytes[type_]


class _Said(NamedTuple):
    """What an op says about its kernel: the element type that it computes in, operations, and those of an iteration."""

    element: str
    flops: float
    arithmetic: Arithmetic


def _read(op: ir.Operation) -> _Said:
    inputs = list(op.operands)[: len(op.operands) - len(op.results)] if op.name == "linalg.generic" else op.operands
    element = computing_element(
        [element_of(value) for value in inputs if is_tensor(value)], [element_of(result) for result in op.results]
    )
    return _Said(element, Structured(op).flops if op.name == "linalg.generic" else 0.0, arithmetic_of(op))
