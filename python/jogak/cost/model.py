"""Cost models: what a collective, a kernel and a copy take on one machine with one mesh.

Everything that decides or predicts asks here: the search, partition's local choices, reshard routes and the promise in
the manifest. A plug-in brings another model under its kind `cost_models`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from jogak.cost.collectives import PERMUTE, Formula, formulas
from jogak.cost.element import element_size
from jogak.cost.kernel import PLAIN, Arithmetic, Form
from jogak.cost.machine import Machine
from jogak.errors import unknown_name
from jogak.registry import Registry
from jogak.sharding.mesh import Mesh

ROOFLINE = "roofline"
"""The cost model that the plug-in `jogak` brings, and the default."""


class CostModel(Protocol):
    """Prices in seconds, never negative and never falling with bytes.

    An instance is immutable and hashable: routes are cached by it.
    """

    @property
    def machine(self) -> Machine: ...

    @property
    def mesh(self) -> Mesh: ...

    def __hash__(self) -> int: ...

    def collective(self, kind: str, axes: tuple[str, ...], bytes_: float) -> float:
        """Seconds of a collective over the groups of `axes`.

        Args:
            kind: one of `jogak.cost.collectives.KINDS`, or `permute`.
            axes: of the mesh, or sub-axes of them.
            bytes_: of the larger of the buffers that a device puts in and gets out.
        """

    def kernel(self, element: str, flops: float, bytes_: float, arithmetic: Arithmetic = PLAIN) -> float:
        """Seconds of the kernel, or the kernels, of one op.

        Args:
            element: type that it computes in, as MLIR writes it.
            flops: arithmetic operations.
            bytes_: read and written.
            arithmetic: what one iteration does.
        """

    def copy(self, bytes_: float) -> float:
        """Seconds to read and write `bytes_` in a device's own memory."""


@dataclass(frozen=True)
class Roofline:
    """A kernel takes the slower of its arithmetic and its memory traffic; a collective the best of its algorithms."""

    machine: Machine
    mesh: Mesh

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.machine, self.mesh))

    @cached_property
    def _formulas(self) -> dict[tuple[str, tuple[str, ...]], tuple[Formula, ...]]:
        return {}

    def formulas(self, kind: str, axes: tuple[str, ...]) -> tuple[Formula, ...]:
        """The algorithms that one collective can use, the constant of its kind included; () where nothing moves."""
        key = (str(kind), axes)
        if key not in self._formulas:
            self._formulas[key] = self._measured(kind, axes) or self._computed(kind, axes)
        return self._formulas[key]

    def _measured(self, kind: str, axes: tuple[str, ...]) -> tuple[Formula, ...]:
        """The line that the machine gives for groups of this size; () where it gives none, or nothing moves."""
        devices = self.mesh.size(axes)
        kind = _measured_as(kind)
        alike = [each for each in self.machine.measured if each.kind == kind]
        lines = [each for each in alike if kind == "send" or each.devices == devices]
        return tuple(Formula("measured", each.latency, 1 / each.bandwidth) for each in lines[:1] if devices > 1)

    def _computed(self, kind: str, axes: tuple[str, ...]) -> tuple[Formula, ...]:
        mesh = self.mesh.cut_for(axes)
        spans = self.machine.spans(mesh, mesh.expand(axes))
        constant = dict(self.machine.constants).get(_measured_as(kind), 0.0)
        found = formulas(kind, spans, once=self.machine.latency_once) if spans else ()
        return tuple(Formula(each.algorithm, each.alpha + constant, each.beta) for each in found)

    def collective(self, kind: str, axes: tuple[str, ...], bytes_: float) -> float:
        return min((formula.seconds(bytes_) for formula in self.formulas(kind, axes)), default=0.0)

    def kernel(self, element: str, flops: float, bytes_: float, arithmetic: Arithmetic = PLAIN) -> float:
        machine, form = self.machine, arithmetic.form
        width = element_size(element)
        iterations = flops / arithmetic.operations if arithmetic.operations else bytes_ / (2 * width)
        special = arithmetic.special * iterations / machine.device.special_rate
        busy = flops / machine.rate(element, form)
        traffic = machine.traffic(form)
        if traffic is not None:
            return machine.overhead(form) + max(busy, special) + bytes_ / traffic
        if machine.device.fused or form is not Form.VECTOR:
            return machine.overhead(form) + max(busy, special, bytes_ / machine.memory_bandwidth)
        # Every operation is a pass of its own: the results between them are written, and read again.
        moved = bytes_ + 2 * max(arithmetic.passes - 1, 0) * iterations * width
        overhead = max(arithmetic.steps, 1) * machine.overhead(form)
        return overhead + max(busy, moved / machine.memory_bandwidth) + special

    def copy(self, bytes_: float) -> float:
        return self.machine.device.kernel_overhead + 2 * bytes_ / self.machine.memory_bandwidth


def _measured_as(kind: str) -> str:
    """The kind under which a machine has the numbers of a collective: a permute is a send by each device."""
    return "send" if kind == PERMUTE else kind


def cost_model(name: str, machine: Machine, mesh: Mesh, registry: Registry) -> CostModel:
    """The cost model of a name, for a machine and a mesh.

    Raises:
        JogakError: no plug-in has a cost model of this name, or the machine has too few devices.
    """
    machine.check_mesh(mesh)
    models = registry.cost_models()
    if name not in models:
        raise unknown_name("cost model", name, models, where="cost-model")
    return models[name]()(machine, mesh)
