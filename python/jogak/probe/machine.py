"""From what the ranks measured to a machine file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from jogak.cost.collectives import KINDS
from jogak.probe.fit import Line, Plane, fit_lines, fit_plane, geometric_mean
from jogak.probe.measurement import CONTRACTION, CONVOLUTION, OVERHEAD, SPECIAL, VECTOR, CollectiveTime, KernelTime

LARGE = 16
"""Vectors down to this part of the largest tell the bandwidth of memory; smaller ones that of a cache."""


@dataclass(frozen=True)
class Host:
    """Where the measurement was made.

    Attributes:
        name: of the machine.
        processor: its model.
        cores: how many it has.
        memory_bytes: all of it.
        torch: the version.
        date: of the measurement.
    """

    name: str
    processor: str
    cores: int
    memory_bytes: int
    torch: str
    date: str


def machine_file(
    host: Host, ranks: int, kernels: Sequence[KernelTime], collectives: Sequence[CollectiveTime], share: float
) -> str:
    """The text of a machine file, with what was measured in comments.

    Args:
        share: seconds that pass while a rank computes for one, since ranks share cores: a device is as much slower.
    """
    slowed = [replace(each, seconds=each.seconds * share) for each in kernels]
    lines = [*_head(host, ranks), *_device(host, ranks, slowed), *_links(ranks, fitted(collectives))]
    return "\n".join([*lines, *_table(share, slowed, collectives)]) + "\n"


def _head(host: Host, ranks: int) -> Iterator[str]:
    yield f'name = "{host.name}-{ranks}"'
    yield f'description = "{ranks} processes with one thread each on {host.cores} cores of {host.processor}"'
    yield "sources = ["
    how = f"jogak machine probe --nproc {ranks}, torch {host.torch}, gloo, all ranks at once"
    yield f'  "measured on {host.date}: {how}",'
    yield f'  "memory_bytes: a share of the {host.memory_bytes} bytes of the machine",'
    yield "]"


def rates(kernels: Iterable[KernelTime], work: str) -> dict[str, list[float]]:
    """Operations a second of each measurement, by element type."""
    found: dict[str, list[float]] = {}
    for each in kernels:
        if each.work == work:
            found.setdefault(each.element, []).append(each.flops / each.seconds)
    return found


def plane_of(kernels: Iterable[KernelTime], work: str) -> Plane:
    """Seconds of products, or of convolutions, of f32, by their operations and the bytes that they read and write."""
    own = [each for each in kernels if each.work == work and each.element == "f32"]
    return fit_plane([each.flops for each in own], [each.bytes for each in own], [each.seconds for each in own])


def _device(host: Host, ranks: int, kernels: Sequence[KernelTime]) -> Iterator[str]:
    planes = {work: plane_of(kernels, work) for work in (CONTRACTION, CONVOLUTION)}
    peaks = {element: max(found) for element, found in rates(kernels, CONTRACTION).items()}
    peaks["f32"] = max(peaks["f32"], *(1 / plane.beta for plane in planes.values()))
    vectors = [each for each in kernels if each.work == VECTOR]
    largest = max(each.flops for each in vectors)
    streams = [each.bytes / each.seconds for each in vectors if each.flops * LARGE >= largest]
    bandwidth = geometric_mean(streams)
    (overhead,) = [each.seconds for each in kernels if each.work == OVERHEAD]
    yield from ("", "[device]", f"memory_bytes = {host.memory_bytes // ranks}")
    yield f"memory_bandwidth = {max(streams):.4g}"
    yield f"kernel_overhead = {overhead:.3g}"
    yield f"special_rate = {geometric_mean(list(_beyond(kernels, bandwidth))):.4g} # besides the pass over memory"
    yield "fused = false # PyTorch without a compiler runs each operation of an op by itself"
    yield from ("", "[device.overheads]")
    for work, plane in planes.items():
        yield f"{work} = {plane.alpha:.3g} # with its other numbers at most {plane.error:.0%} off what was measured"
    yield from ("", "[device.traffic]")
    yield from (f"{work} = {1 / plane.gamma:.4g}" for work, plane in planes.items() if plane.gamma)
    yield from ("", "[device.flops]", *(f"{element} = {rate:.4g}" for element, rate in peaks.items()))
    yield from ("", "[achieved]", f"compute = {1 / planes[CONTRACTION].beta / peaks['f32']:.3f}")
    yield f"convolution = {1 / planes[CONVOLUTION].beta / peaks['f32']:.3f}"
    yield f"memory = {bandwidth / max(streams):.3f}"


def _beyond(kernels: Iterable[KernelTime], bandwidth: float) -> Iterator[float]:
    """Transcendental functions a second, without the pass over memory that they take part in; most of it at most."""
    for each in kernels:
        if each.work == SPECIAL:
            yield each.flops / max(each.seconds - each.bytes / bandwidth, each.seconds / LARGE)


def fitted(collectives: Iterable[CollectiveTime]) -> dict[tuple[str, int], Line]:
    """For each kind and size of group its latency and seconds for each byte.

    Kinds have one latency for a size of group: most of it is waiting for ranks that come later, whatever is moved then,
    and measured kind by kind it is mostly noise.
    """
    groups: dict[int, dict[str, tuple[list[float], list[float]]]] = {}
    for each in collectives:
        bytes_, seconds = groups.setdefault(each.devices, {}).setdefault(each.kind, ([], []))
        bytes_.append(each.bytes)
        seconds.append(each.wall)
    return {(kind, devices): line for devices, of in groups.items() for kind, line in fit_lines(of).items()}


def _links(ranks: int, lines: Mapping[tuple[str, int], Line]) -> Iterator[str]:
    gather = lines.get(("all_gather", ranks))
    yield from ("", "[[levels]]", 'name = "machine"', f"size = {ranks}")
    if gather is None:
        yield from ("bandwidth = inf # not measured", "latency = 0")
    else:
        yield f"bandwidth = {(ranks - 1) / ranks / gather.beta:.4g} # of an all-gather by the ring"
        yield f"latency = {gather.alpha / (ranks - 1):.3g}"
    yield from ("", "[collectives]", "overlap = false # the cores that compute also move the data")
    for kind in KINDS:
        for (name, devices), line in lines.items():
            if name == kind:
                yield from ("", "[[collectives.measured]]", f'kind = "{kind}"', f"devices = {devices}")
                yield f"latency = {line.alpha:.3g} # the line is at most {line.error:.0%} off what was measured"
                yield f"bandwidth = {1 / line.beta:.4g}"


def _table(share: float, kernels: Sequence[KernelTime], collectives: Sequence[CollectiveTime]) -> Iterator[str]:
    yield from ("", f"# What was measured, all ranks at once; each of them had {1 / share:.1%} of a core:")
    for each in kernels:
        yield (
            f"# {each.work:12} {each.element:5} {each.name:46} {each.seconds * 1e6:11.1f} us "
            f"{each.flops / each.seconds / 1e9:9.2f} Gop/s {each.bytes / each.seconds / 1e9:8.2f} GB/s"
        )
    for link in collectives:
        yield (
            f"# {link.kind:15} in groups of {link.devices}, {link.bytes:9.0f} bytes {link.wall * 1e6:11.1f} us "
            f"{link.bytes / link.wall / 1e9:8.3f} GB/s (processor {link.processor * 1e6:.1f} us)"
        )
