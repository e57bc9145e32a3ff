"""The time of a step in which collectives run beside kernels: one stream of kernels, one of collectives.

The search prices a plan before there is a program (`step_seconds`), the promise runs the clock over the program of a
device (`run_clock`); both are told in the same parts, so that they can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

INTERFERENCE = 0.1
"""Seconds that kernels lose to each second of a collective beside them, which takes cores and memory bandwidth from
them. Assumed: 10 to 20 of the 108 multiprocessors of an A100 are what a collective of NCCL occupies."""
AHEAD = 32
"""How many ops before its place in the program a collective is started at most, when its operand is there: what is
gathered early takes memory."""


@dataclass(frozen=True)
class Work:
    """A kernel or a collective of a device's program.

    Attributes:
        seconds: what it takes.
        needs: numbers of earlier pieces of work whose results it reads.
        moves: whether it is a collective.
    """

    seconds: float
    needs: tuple[int, ...]
    moves: bool = False


def step_seconds(compute: float, exposed: float, hideable: float) -> float:
    """Seconds of a step by what it consists of.

    Args:
        compute: of kernels.
        exposed: of collectives that something waits for at once.
        hideable: of collectives that can run beside kernels.
    """
    beside = min(compute, hideable)
    return exposed + max(compute, hideable) + INTERFERENCE * beside


def run_clock(works: Sequence[Work], ahead: int = AHEAD) -> float:
    """Seconds of a program whose kernels run in order, and whose collectives run in order beside them.

    A piece of work starts when what it needs is done and its stream is free; a collective besides not before the work
    `ahead` places earlier has started. Targets order a program so that this is what happens: `overlap` in
    `jogak.targets.distributed.schedule` reaches as far.
    """
    begins: list[float] = []
    ends: list[float] = []
    free = {True: 0.0, False: 0.0}
    for number, work in enumerate(works):
        start = max((ends[each] for each in work.needs), default=0.0)
        if work.moves and number >= ahead:
            start = max(start, begins[number - ahead])
        if work.seconds:
            start = max(start, free[work.moves])
            free[work.moves] = start + work.seconds
        begins.append(start)
        ends.append(start + work.seconds)
    end = max(ends, default=0.0)
    total = sum(work.seconds for work in works)
    return end + INTERFERENCE * (total - end) if total > end else end
