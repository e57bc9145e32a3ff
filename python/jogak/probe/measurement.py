"""What the ranks measured, as plain data that goes through JSON."""

from __future__ import annotations

from dataclasses import dataclass

CONTRACTION = "contraction"
CONVOLUTION = "convolution"
VECTOR = "vector"
SPECIAL = "special"
OVERHEAD = "overhead"


@dataclass(frozen=True)
class KernelTime:
    """A kernel on every rank at once.

    Attributes:
        work: CONTRACTION, ...
        name: for people.
        element: type that it computes in.
        flops: arithmetic operations.
        bytes: read and written.
        seconds: of one on a processor of its own, mean over ranks.
    """

    work: str
    name: str
    element: str
    flops: float
    bytes: float
    seconds: float


@dataclass(frozen=True)
class CollectiveTime:
    """A collective of every rank's group at once.

    Attributes:
        kind: `all_reduce`, ...
        devices: in a group.
        bytes: of the larger of what a rank puts in and gets out.
        wall: seconds of one, until its result is there.
        processor: seconds of all threads of a rank.
    """

    kind: str
    devices: int
    bytes: float
    wall: float
    processor: float
