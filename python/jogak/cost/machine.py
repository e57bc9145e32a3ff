"""The machine: one kind of device, and the links between devices, level by level."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from math import gcd, inf, isinf, prod
from typing import Any

from jogak.cost.collectives import Span, Topology
from jogak.cost.kernel import Form
from jogak.errors import JogakError
from jogak.sharding.mesh import Mesh

_STAND_INS = {
    "f64": ("f64", "f32"),
    "f32": ("f32",),
    "bf16": ("bf16", "f32"),
    "f16": ("f16", "f32"),
    "f8": ("f8", "bf16", "f16", "f32"),
    "i8": ("i8", "f32"),
}
"""For each element type the rates that it runs at, the first that a machine gives."""
_BYTES = {"i1", "i8", "ui8"}
_WIDEST_FIRST = ("f64", "f32", "bf16", "f16", "f8E4M3FN", "f8E5M2")


@dataclass(frozen=True)
class Level:
    """The links of one level of the hierarchy.

    Attributes:
        name: for people.
        bandwidth: bytes a second that one device sends, peak.
        latency: seconds of one step.
        size: how many units of the level below (devices, on the first level) are joined; None: as many as there are.
        topology: how they are connected.
    """

    name: str
    bandwidth: float
    latency: float
    size: int | None = None
    topology: Topology = Topology.SWITCH


@dataclass(frozen=True)
class Device:
    """One device.

    Attributes:
        memory_bytes: its memory.
        memory_bandwidth: bytes a second, peak.
        flops: element type to operations a second, peak; `f32` is always there.
        kernel_overhead: seconds that each kernel takes besides its work.
        overheads: the same for forms of arithmetic that take others.
        special_rate: exponentials, logarithms, hyperbolic tangents a second, as achieved.
        fused: whether all the arithmetic of an op is one kernel; otherwise each operation is a pass over memory.
        traffic: form of arithmetic to the bytes a second that its kernels move before or after their arithmetic; the
            other forms move them beside it.
    """

    memory_bytes: int
    memory_bandwidth: float
    flops: tuple[tuple[str, float], ...]
    kernel_overhead: float = 0.0
    overheads: tuple[tuple[str, float], ...] = ()
    special_rate: float = inf
    fused: bool = True
    traffic: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Achieved:
    """The fractions of the peaks that real programs reach; None for convolutions: the same as other arithmetic."""

    compute: float = 1.0
    memory: float = 1.0
    network: float = 1.0
    convolution: float | None = None


@dataclass(frozen=True)
class Measured:
    """What a collective was measured to take: `latency + bytes / bandwidth` seconds.

    Attributes:
        kind: one of `jogak.cost.collectives.KINDS`.
        devices: in a group; all groups of the machine were at it at once.
        latency: seconds.
        bandwidth: bytes a second, of the larger of the buffers that a device puts in and gets out.
    """

    kind: str
    devices: int
    latency: float
    bandwidth: float


@dataclass(frozen=True)
class Machine:
    """A machine file, read.

    Attributes:
        name: of the preset or file.
        device: the devices, all alike.
        levels: innermost first.
        description: one line for people.
        sources: where the numbers are from.
        achieved: fractions of the peaks.
        axes: mesh axes with links of their own.
        latency_once: whether the latency of a link counts once for each collective instead of for each step.
        constants: seconds added to each collective of a kind.
        measured: collectives whose times are known, and need no formula.
        overlap: whether collectives run beside kernels; otherwise they take the time of the cores that compute.
    """

    name: str
    device: Device
    levels: tuple[Level, ...]
    description: str = ""
    sources: tuple[str, ...] = ()
    achieved: Achieved = field(default_factory=Achieved)
    axes: tuple[tuple[str, Level], ...] = ()
    latency_once: bool = False
    constants: tuple[tuple[str, float], ...] = ()
    measured: tuple[Measured, ...] = ()
    overlap: bool = True

    @property
    def devices_per_node(self) -> int | None:
        """Devices on the innermost level; None when it holds as many as there are."""
        return self.levels[0].size

    @property
    def devices(self) -> int | None:
        """Devices in all; None when there are as many as wanted."""
        sizes = [level.size for level in self.levels]
        return None if None in sizes else prod(size for size in sizes if size)

    def overhead(self, form: Form) -> float:
        """Seconds that a kernel takes besides its work."""
        return dict(self.device.overheads).get(form, self.device.kernel_overhead)

    def traffic(self, form: Form) -> float | None:
        """Bytes a second that kernels of a form move besides their arithmetic; None: they do both at once."""
        return dict(self.device.traffic).get(form)

    @property
    def memory_bandwidth(self) -> float:
        """Bytes a second that kernels achieve."""
        return self.device.memory_bandwidth * self.achieved.memory

    def rate(self, element: str, form: Form = Form.CONTRACTION) -> float:
        """Operations a second that programs achieve in an element type, written as MLIR does (`f8E4M3FN`, `i32`).

        A type that the machine has no rate for runs as the next wider one; integers of 16 bits and more run as f32.
        """
        peaks = dict(self.device.flops)
        fraction = self.achieved.compute
        if form is Form.CONVOLUTION and self.achieved.convolution is not None:
            fraction = self.achieved.convolution
        return next(peaks[name] for name in _STAND_INS[_rate_name(element)] if name in peaks) * fraction

    def check_mesh(self, mesh: Mesh) -> None:
        """Refuse a mesh that needs more devices than there are.

        Raises:
            JogakError: the machine is too small.
        """
        if self.devices is not None and mesh.devices > self.devices:
            sizes = " x ".join(f"{level.size} ({level.name})" for level in self.levels)
            raise JogakError(
                f"the mesh {mesh} needs {mesh.devices} devices, machine {self.name!r} has {self.devices}: {sizes}",
                where=f"machine {self.name!r}",
                hint="take a smaller mesh, or a machine file with a larger size on its last level",
            )

    def axis_links(self, mesh: Mesh) -> dict[str, tuple[tuple[Level, int], ...]]:
        """For each mesh axis the levels that it lies on, innermost first, with its number of parts on each.

        Devices are numbered with the last axis fastest and nodes hold consecutive numbers, so minor axes lie within a
        node and major axes across nodes. Where sizes do not divide evenly an axis counts as lying further out than
        some of its groups do. An axis of size 1 lies on no level.
        """
        parts = _split(mesh, self.levels)
        own = dict(self.axes)
        for whole in own:
            for axis in mesh.parts(whole):
                if mesh.sizes[axis] > 1:
                    parts[axis] = ((own[whole], mesh.sizes[axis]),)
        return {axis: parts[axis] for axis in mesh.axes}

    def spans(self, mesh: Mesh, axes: Sequence[str]) -> tuple[Span, ...]:
        """The levels that groups of a collective over `axes` lie on, innermost first; () for groups of one device."""
        links = self.axis_links(mesh)
        counts: dict[Level, int] = {}
        for axis in sorted(axes, key=mesh.index, reverse=True):
            for level, parts in links[axis]:
                counts[level] = counts.get(level, 1) * parts
        order = sorted(counts, key=lambda level: self.levels.index(level) if level in self.levels else len(self.levels))
        return tuple(
            Span(counts[level], level.bandwidth * self.achieved.network, level.latency, level.topology)
            for level in order
        )

    def effective(self, mesh: Mesh) -> dict[str, Any]:
        """The numbers behind the prices for one mesh, as JSON; null is a speed or a size without limit."""
        mesh = mesh.whole
        links = self.axis_links(mesh)
        fraction = self.achieved.network
        return {
            "name": self.name,
            "memory_bytes": self.device.memory_bytes,
            "devices_per_node": self.devices_per_node,
            "flops": {element: _finite(self.rate(element)) for element, _ in self.device.flops},
            "memory_bandwidth": _finite(self.memory_bandwidth),
            "kernel_overhead_s": self.device.kernel_overhead,
            "overheads_s": dict(self.device.overheads),
            "traffic": dict(self.device.traffic),
            "special_rate": _finite(self.device.special_rate),
            "fused": self.device.fused,
            "convolution": self.achieved.convolution or self.achieved.compute,
            "overlap": self.overlap,
            "measured": [asdict(each) for each in self.measured],
            "axes": {axis: [_link(level, parts, fraction) for level, parts in links[axis]] for axis in mesh.axes},
            "latency": "once" if self.latency_once else "step",
            "constants_s": dict(self.constants),
        }


def _link(level: Level, parts: int, fraction: float) -> dict[str, Any]:
    return {
        "level": level.name,
        "devices": parts,
        "bandwidth": _finite(level.bandwidth * fraction),
        "latency_s": level.latency,
        "topology": level.topology.value,
    }


def _finite(value: float) -> float | None:
    return None if isinf(value) else value


def computing_element(inputs: Iterable[str], results: Iterable[str]) -> str:
    """The element type that an op computes in: the widest floating-point type among its inputs, else its results.

    A product of bf16 tensors runs at bf16 rate, whatever it accumulates in. Of several integer types the first counts.
    """
    read = tuple(inputs)
    return next((name for name in _WIDEST_FIRST if name in read), next(iter(read or results), "f32"))


def _rate_name(element: str) -> str:
    if element.startswith("f8"):
        return "f8"
    if element in _BYTES:
        return "i8"
    return element if element in _STAND_INS else "f32"


def _split(mesh: Mesh, levels: Sequence[Level]) -> dict[str, tuple[tuple[Level, int], ...]]:
    """Give the sizes of the axes, from the last axis on, to the levels, from the innermost on."""
    room = _room(mesh.devices, levels)
    found: dict[str, tuple[tuple[Level, int], ...]] = {}
    number = 0
    for axis, size in zip(reversed(mesh.axes), reversed(mesh.shape), strict=True):
        pieces: list[tuple[Level, int]] = []
        while size > 1:
            here = room[number]
            part = size if here is None else gcd(size, here)
            room[number] = None if here is None else here // part
            if part > 1:
                pieces.append((levels[number], part))
            size //= part
            number += size > 1
        found[axis] = tuple(pieces)
    return found


def _room(devices: int, levels: Sequence[Level]) -> list[int | None]:
    """The sizes of the levels up to the one that holds all devices; that one takes whatever is left."""
    room: list[int | None] = []
    held = 1
    for level in levels:
        held *= level.size or devices
        if held >= devices:
            return [*room, None]
        room.append(level.size)
    room[-1] = None
    return room
