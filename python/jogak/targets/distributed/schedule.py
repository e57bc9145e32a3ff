"""The order in which one device works: collectives run while it computes what does not depend on them."""

from __future__ import annotations

from collections.abc import Sequence

from jogak.cost.clock import AHEAD
from jogak.runtime import liveness
from jogak.runtime.kinds import COMMUNICATION
from jogak.runtime.liveness import AnyStep, Unit
from jogak.runtime.program import CollectiveStep

REACH = AHEAD
"""How many steps a collective is given time to finish before a step that reads its result keeps its place again; and
how many steps ahead one is started. The clock that promises the time of a step counts on it.

Without an end, every optimizer update would move behind the whole backward pass, and all gradients would be alive.
"""


def starts_communication(step: Unit) -> bool:
    """Whether a step starts a collective that the program must wait for later."""
    return isinstance(step, CollectiveStep) and step.collective.kind in COMMUNICATION


def overlap(steps: Sequence[AnyStep], results: Sequence[int]) -> tuple[AnyStep, ...]:
    """The steps in an order that waits late, each with the values that die with it.

    The order of the program is kept, but a step that reads the result of a recent collective lets the steps behind it
    go first. All devices run the same order, so the collectives of every group match.

    Args:
        steps: in the program's order.
        results: the values that the program returns.
    """
    waiting = list(steps)
    missing = {number for step in steps for number in step.results}
    started: dict[int, int] = {}
    order: list[AnyStep] = []
    while waiting:
        at = _next(waiting, missing, started, len(order))
        step = waiting.pop(at)
        order.append(step)
        missing.difference_update(step.results)
        if starts_communication(step):
            started |= dict.fromkeys(step.results, len(order))
    return liveness.plan(order, results)


def _next(waiting: Sequence[Unit], missing: set[int], started: dict[int, int], now: int) -> int:
    """The first step that needs nothing unfinished, within reach; otherwise the first one at all."""
    delayed: set[int] = set()
    for at, step in enumerate(waiting[:REACH]):
        late = any(now - started[number] < REACH for number in step.operands if number in started)
        if not late and delayed.isdisjoint(step.operands) and missing.isdisjoint(step.operands):
            return at
        delayed.update(step.results)
    return 0
