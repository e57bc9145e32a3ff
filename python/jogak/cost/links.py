"""What a collective costs: latency plus bytes over bandwidth, by the ring formulas.

The formulas are those of Alpa's `LogicalDeviceMesh` (alpa-projects/alpa, `alpa/shard_parallel/auto_sharding.py`): for
n devices and a full buffer of B bytes an all-gather or reduce-scatter moves (n-1)/n B, an all-reduce twice that, an
all-to-all (n-1)/n^2 B over each link.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Links:
    """One speed for every mesh axis, and how fast a device computes.

    Attributes:
        latency: seconds that any collective takes.
        bandwidth: bytes a second of each link.
        flops: arithmetic operations a second of a device.
        memory_bandwidth: bytes a second of a device's memory.
    """

    latency: float = 1e-5
    bandwidth: float = 1e11
    flops: float = 1e14
    memory_bandwidth: float = 1e12

    def all_reduce(self, devices: int, bytes_: float) -> float:
        """Seconds to combine a buffer of `bytes_` that every device holds."""
        return self.latency + 2 * (devices - 1) / devices * bytes_ / self.bandwidth

    def all_gather(self, devices: int, bytes_: float) -> float:
        """Seconds to collect `bytes_`, of which every device holds its part."""
        return self.latency + (devices - 1) / devices * bytes_ / self.bandwidth

    def reduce_scatter(self, devices: int, bytes_: float) -> float:
        """Seconds to combine a buffer of `bytes_` that every device holds and keep a part of it."""
        return self.all_gather(devices, bytes_)

    def all_to_all(self, devices: int, bytes_: float) -> float:
        """Seconds to exchange parts, where every device holds `bytes_`."""
        return self.latency + (devices - 1) / devices * bytes_ / self.bandwidth

    def copy(self, bytes_: float) -> float:
        """Seconds to read and write `bytes_` in a device's own memory."""
        return 2 * bytes_ / self.memory_bandwidth

    def compute(self, flops: float, bytes_: float) -> float:
        """Seconds of a kernel: the slower of arithmetic and memory traffic."""
        return max(flops / self.flops, bytes_ / self.memory_bandwidth)
