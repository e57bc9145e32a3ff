"""From what the ranks measured to a machine file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from jogak.cost.collectives import KINDS
from jogak.probe.fit import Line, fit_line, geometric_mean
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


def _device(host: Host, ranks: int, kernels: Sequence[KernelTime]) -> Iterator[str]:
    products, windows = rates(kernels, CONTRACTION), rates(kernels, CONVOLUTION)["f32"]
    peaks = {element: max(found) for element, found in products.items()}
    peaks["f32"] = max(peaks["f32"], *windows)
    vectors = sorted((each for each in kernels if each.work == VECTOR), key=lambda each: each.flops)
    streams = [each.bytes / each.seconds for each in vectors if each.flops * LARGE >= vectors[-1].flops]
    special = [each.flops / each.seconds for each in kernels if each.work == SPECIAL]
    overheads = {each.name: each.seconds for each in kernels if each.work == OVERHEAD}
    yield from ("", "[device]", f"memory_bytes = {host.memory_bytes // ranks}")
    yield f"memory_bandwidth = {max(streams):.4g}"
    yield f"kernel_overhead = {overheads[VECTOR]:.3g}"
    yield f"special_rate = {geometric_mean(special):.4g}"
    yield "fused = false # PyTorch without a compiler runs each operation of an op by itself"
    yield from ("", "[device.overheads]")
    yield from (f"{form} = {seconds:.3g}" for form, seconds in overheads.items() if form != VECTOR)
    yield from ("", "[device.flops]", *(f"{element} = {rate:.4g}" for element, rate in peaks.items()))
    yield from ("", "[achieved]", f"compute = {geometric_mean(products['f32']) / peaks['f32']:.3f}")
    yield f"convolution = {geometric_mean(windows) / peaks['f32']:.3f}"
    yield f"memory = {geometric_mean(streams) / max(streams):.3f}"


def fitted(collectives: Iterable[CollectiveTime]) -> dict[tuple[str, int], Line]:
    """For each kind and size of group its latency and seconds for each byte."""
    groups: dict[tuple[str, int], list[CollectiveTime]] = {}
    for each in collectives:
        groups.setdefault((each.kind, each.devices), []).append(each)
    return {key: fit_line([each.bytes for each in of], [each.wall for each in of]) for key, of in groups.items()}


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
