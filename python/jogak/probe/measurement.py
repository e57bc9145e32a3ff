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
    """What a collective of every rank's group adds to a program.

    Attributes:
        kind: `all_reduce`, ...
        devices: in a group.
        bytes: of the larger of what a rank puts in and gets out.
        wall: seconds that the program takes longer, waiting for ranks that come later included.
        processor: seconds that all threads of a rank take longer.
    """

    kind: str
    devices: int
    bytes: float
    wall: float
    processor: float
