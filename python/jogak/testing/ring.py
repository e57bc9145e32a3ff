"""A cost model for tests: one speed for every axis, so that expected prices can be written down."""

from __future__ import annotations

from dataclasses import dataclass

from jogak.cost.kernel import PLAIN, Arithmetic
from jogak.cost.machine import Device, Level, Machine
from jogak.sharding.mesh import Mesh


@dataclass(frozen=True)
class RingCost:
    """Collectives by the ring formulas, with 10 µs latency and 100 GB/s; kernels at 100 TFLOP/s and 1 TB/s."""

    mesh: Mesh

    @property
    def machine(self) -> Machine:
        device = Device(memory_bytes=1 << 34, memory_bandwidth=1e12, flops=(("f32", 1e14),))
        return Machine("ring", device, (Level("ring", 1e11, 1e-5),))

    def collective(self, kind: str, axes: tuple[str, ...], bytes_: float) -> float:
        devices = self.mesh.size(axes)
        rounds = 2 if kind == "all_reduce" else 1
        return 1e-5 + rounds * (devices - 1) / devices * bytes_ / 1e11

    def kernel(self, element: str, flops: float, bytes_: float, arithmetic: Arithmetic = PLAIN) -> float:
        return max(flops / 1e14, bytes_ / 1e12)

    def copy(self, bytes_: float) -> float:
        return 1e-8 + 2 * bytes_ / 1e12
