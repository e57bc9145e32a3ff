"""The order in which one device works: collectives run while it computes what does not depend on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Memory:
    """What steps take, so that no order takes more than that of the program.

    Attributes:
        sizes: bytes of each value.
        allocated: bytes that a step allocates at its worst moment, by the number of its first result.
        shared: the first results of steps whose results lie in the memory of an operand.
        planned: bytes beside arguments that the plan of the memory allows; None where there is none.
    """

    sizes: Mapping[int, int]
    allocated: Mapping[int, int]
    shared: frozenset[int]
    planned: int | None = None

    def need(self, step: Unit) -> int:
        """Bytes that a step allocates."""
        own = sum(self.sizes[number] for number in step.results)
        return self.allocated.get(step.results[0], own) if step.results else 0

    def kept(self, step: Unit) -> int:
        """Bytes of new memory that its results hold."""
        shared = not step.results or step.results[0] in self.shared
        return 0 if shared else sum(self.sizes[number] for number in step.results)

    def together(self, steps: Sequence[Unit]) -> int:
        """Bytes that are enough for steps in any order, whatever they free."""
        return sum(map(self.kept, steps)) + max(self.need(step) - self.kept(step) for step in steps)


class Alive:
    """The bytes that values hold while steps are taken in any order."""

    def __init__(self, memory: Memory, steps: Sequence[Unit], results: Sequence[int]) -> None:
        self._memory = memory
        made = {number for step in steps for number in step.results}
        self._readers = Counter(
            number for step in steps for number in {*step.operands, *step.results} if number in made
        )
        self._readers.update(results)
        self._home: dict[int, int] = {}
        self._source: dict[int, int] = {}
        self._held: dict[int, list[int]] = {}
        self.live = 0

    def views(self) -> dict[int, list[int]]:
        """Values in memory that was made for another one, which is no longer needed, by that one.

        A view of a view that is still needed is not among them.
        """
        needed = [number for number in self._home if self._readers[number] > 0]
        found: dict[int, list[int]] = {}
        for number in needed:
            home = self._home[number]
            if self._readers[home] <= 0 and self._readers[self._source.get(number, home)] <= 0:
                found.setdefault(home, []).append(number)
        return found

    def take(self, step: Unit) -> None:
        """A step runs: its results come, and what it reads last goes."""
        for number in step.results:
            source = max(step.operands, key=lambda each: self._memory.sizes.get(each, 0), default=-1)
            if step.results[0] not in self._memory.shared:
                home, size = number, self._memory.sizes[number]
                self.live += size
                self._held[home] = [0, size]
            elif source in self._home:
                home = self._home[source]
                self._source[number] = source
            else:  # memory of an argument
                continue
            self._home[number] = home
            self._held[home][0] += 1
        for number in {*step.operands, *step.results}:
            self._readers[number] -= 1
            home = self._home.get(number, -1)
            if self._readers[number] == 0 and home in self._held:
                self._held[home][0] -= 1
                if not self._held[home][0]:
                    self.live -= self._held.pop(home)[1]


def peak(steps: Sequence[Unit], results: Sequence[int], memory: Memory) -> int:
    """The most bytes beside arguments that steps hold in this order."""
    alive, most = Alive(memory, steps, results), 0
    for step in steps:
        most = max(most, alive.live + memory.need(step))
        alive.take(step)
    return most


def overlap(steps: Sequence[AnyStep], results: Sequence[int], memory: Memory | None = None) -> tuple[AnyStep, ...]:
    """The steps in an order that waits late, each with the values that die with it.

    The order of the program is kept, but a step that reads the result of a recent collective lets the steps behind it
    go first, unless they would take more memory than the program's order ever does. All devices run the same order, so
    the collectives of every group match.

    Args:
        steps: in the program's order.
        results: the values that the program returns.
        memory: what steps take; None where that does not matter.
    """
    waiting = list(liveness.plan(steps, results))
    missing = {number for step in waiting for number in step.results}
    alive = None if memory is None else Alive(memory, waiting, results)
    limit = 0 if memory is None else peak(waiting, results, memory)
    if memory is not None and memory.planned is not None:
        limit = min(limit, memory.planned)
    started: dict[int, int] = {}
    order: list[AnyStep] = []
    while waiting:
        at = _next(waiting, missing, started, len(order))
        if memory is not None and alive is not None:
            if at and alive.live + memory.together(waiting[: at + 1]) > limit:
                at = 0
            alive.take(waiting[at])
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
