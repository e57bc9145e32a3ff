"""What collectives cost: for each algorithm a latency and a time for each byte (the alpha-beta model).

Sources: ring and pairwise exchange after Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication
Operations in MPICH" (2005); the tree after Sanders, Speck and Träff, "Two-tree algorithms for full bandwidth
broadcast, reduction and scan" (2009), which NCCL uses between nodes; with one latency for each collective the formulas
on a ring are those of Alpa (arXiv 2201.12023; `LogicalDeviceMesh` in its source).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from math import prod

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send")
"""The collectives that a machine can have measurements of, by the names of the `shard` ops."""
PERMUTE = "permute"
"""Every device sends its piece to one other: it is priced by `send`, over links that the pieces share on a ring."""


class Topology(StrEnum):
    """How the devices of one level are connected.

    A `ring` sends one way round; a `torus` is a ring that sends both ways, its bandwidth counting both; behind a
    `switch` any two devices talk at full speed.
    """

    SWITCH = "switch"
    RING = "ring"
    TORUS = "torus"


@dataclass(frozen=True)
class Span:
    """The part of a group of devices that lies on one level.

    Attributes:
        devices: how many devices, or how many units of the level below.
        bandwidth: bytes a second that one device sends, as achieved.
        latency: seconds of one step.
        topology: how they are connected.
    """

    devices: int
    bandwidth: float
    latency: float
    topology: Topology = Topology.SWITCH


@dataclass(frozen=True)
class Formula:
    """The time of one algorithm: `alpha + beta * bytes` seconds."""

    algorithm: str
    alpha: float
    beta: float

    def seconds(self, bytes_: float) -> float:
        return self.alpha + self.beta * bytes_


def formulas(kind: str, spans: Sequence[Span], *, once: bool = False) -> tuple[Formula, ...]:
    """The algorithms for one collective; the cheapest for the number of bytes is the one to take.

    Bytes are those of the larger of the buffers that a device puts in and gets out.

    Args:
        kind: one of `KINDS`, or `permute`.
        spans: the levels that the group lies on, innermost first.
        once: count the latency of a level once for each phase and not for each step.
    """
    if len(spans) == 1:
        return tuple(_on_one_level(kind, spans[0], once))
    flat = _on_one_level(kind, _slowest(spans), once)
    return (*flat, *_hierarchical(kind, spans, once))


def _on_one_level(kind: str, span: Span, once: bool) -> Iterator[Formula]:
    n, topology = span.devices, span.topology
    around = n // 2 if topology is Topology.TORUS else n - 1
    share = (n - 1) / n
    match kind:
        case "all_gather" | "reduce_scatter":
            yield _formula("ring", span, around, share, once)
        case "all_reduce":
            yield _formula("ring", span, 2 * around, 2 * share, once)
            if topology is Topology.SWITCH and n > 2:
                yield _formula("tree", span, 2 * (n - 1).bit_length(), 2.0, once)
        case "all_to_all" if topology is Topology.SWITCH:
            yield _formula("pairwise", span, n - 1, share, once)
        case "all_to_all":
            yield _formula("ring", span, around, _hops(n, topology) / n, once)
        case "send":
            yield _formula("send", span, 1, 1.0, once)
        case "permute" if topology is Topology.SWITCH:
            yield _formula("send", span, 1, 1.0, once)
        case "permute":
            yield _formula("ring", span, around, _hops(n, topology) / n, once)


def _hops(n: int, topology: Topology) -> float:
    """Links that lie between a device and all others together."""
    return n * n // 4 if topology is Topology.TORUS else n * (n - 1) / 2


def _formula(algorithm: str, span: Span, steps: int, share: float, once: bool) -> Formula:
    return Formula(algorithm, span.latency * (1 if once else steps), share / span.bandwidth)


def _slowest(spans: Sequence[Span]) -> Span:
    """All levels as one, at the speed of the slowest link."""
    topologies = {span.topology for span in spans}
    topology = topologies.pop() if len(topologies) == 1 else Topology.RING
    devices = prod(span.devices for span in spans)
    return Span(devices, min(span.bandwidth for span in spans), max(span.latency for span in spans), topology)


def _hierarchical(kind: str, spans: Sequence[Span], once: bool) -> Iterator[Formula]:
    """Level after level: between nodes every device moves only its share of the node's data."""
    inner, outer = spans[:1], spans[1:]
    share = 1 / inner[0].devices
    match kind:
        case "all_reduce":
            phases = [("reduce_scatter", inner, 1.0), (kind, outer, share), ("all_gather", inner, 1.0)]
        case "all_gather" | "reduce_scatter":
            phases = [(kind, inner, 1.0), (kind, outer, share)]
        case "all_to_all":
            phases = [(kind, inner, 1.0), (kind, outer, 1.0)]
        case _:
            return
    for combination in product(*(formulas(each, on, once=once) for each, on, _ in phases)):
        alpha = sum(formula.alpha for formula in combination)
        beta = sum(formula.beta * part for formula, (_, _, part) in zip(combination, phases, strict=True))
        yield Formula("hierarchical", alpha, beta)
