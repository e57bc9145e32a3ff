"""An order of steps with a low peak, never higher than the program's own."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from jogak.memory.exact_order import LARGEST, exact_order
from jogak.memory.shifts import shift
from jogak.memory.tape import Tape
from jogak.memory.trace import arrays_of, trace

_LONG = 2_000
"""Steps from which on a round of local search takes longer than what it finds is worth."""
ROUNDS = 60
"""Changes of an order that the local search makes."""


def low_order(tape: Tape) -> list[int]:
    """An order with a low peak: list scheduling and local search; for a few steps the lowest, where that can be proven.

    A list schedule takes the first step in program order, unless a ready one shrinks what is alive; the schedules
    differ in whether steps that only make something wait for their first reader. The best of them, or the program's
    own order, is then changed step by step (`jogak.memory.shifts`). For a few steps a search over sets of finished
    steps goes on from there (`jogak.memory.exact_order`): nearly always to the lowest peak of all orders.
    """
    best = list_order(tape)
    if len(best) > _LONG:
        return best
    best = shift(tape, best, ROUNDS)
    return best if len(best) > LARGEST else exact_order(tape, best)[0]


def list_order(tape: Tape) -> list[int]:
    """The best of the program's order and list schedules that run what frees memory as soon as it can run."""
    arrays = arrays_of(tape)
    own = list(range(len(tape.steps)))
    lazy = _just_in_time(tape)
    found = [own, lazy, _eager(tape, own), _eager(tape, lazy)]
    return min(found, key=lambda order: (trace(arrays, order).peak, order != own))


def early_order(tape: Tape) -> list[int]:
    """The program's order, but what frees memory runs as soon as it can: an update right behind its gradient.

    Where the highest point is in the middle of a program, its peak is that of the program's own order. But what waits
    for the end of it adds to every point behind, and has to be paid for when the budget is tight.
    """
    return _eager(tape, range(len(tape.steps)))


def _just_in_time(tape: Tape) -> list[int]:
    """Depth first from the steps that make what nobody reads: everything is made right before its first reader."""
    makers = tape.makers
    read = {value for step in tape.steps for value in step.reads}
    done = [False] * len(tape.steps)
    order: list[int] = []
    for root in (k for k, step in enumerate(tape.steps) if not read.intersection(step.writes)):
        stack = [root]
        while stack:
            step = stack[-1]
            missing = [makers[v] for v in tape.steps[step].reads if v in makers and not done[makers[v]]]
            if missing:
                stack.append(max(missing))
                continue
            stack.pop()
            if not done[step]:
                done[step] = True
                order.append(step)
    return order


def _eager(tape: Tape, order: Sequence[int]) -> list[int]:
    """List scheduling along an order: a ready step that does not grow what is alive goes first."""
    schedule = _Schedule(tape, order)
    while len(schedule.done) < len(tape.steps):
        schedule.run(schedule.next())
    return list(schedule.done)


class _Schedule:
    """A list schedule under construction.

    Attributes:
        done: the steps so far, in order.
        ready, free: heaps of (rank, step): what can run, and what of it does not grow what is alive. A step that is
            free stays so: all that changes is that values lose readers.
        left: for each value the readers that did not run.
    """

    def __init__(self, tape: Tape, order: Sequence[int]) -> None:
        self.tape, makers = tape, tape.makers
        self.rank = {step: place for place, step in enumerate(order)}
        self.readers: dict[int, list[int]] = {}
        self.followers: list[list[int]] = [[] for _ in tape.steps]
        self.waiting = [0] * len(tape.steps)
        for number, step in enumerate(tape.steps):
            for value in step.reads:
                self.readers.setdefault(value, []).append(number)
            for maker in {makers[v] for v in step.reads if v in makers}:
                self.followers[maker].append(number)
                self.waiting[number] += 1
        self.left = {value: len(users) for value, users in self.readers.items()}
        self.done: dict[int, None] = {}
        self.ready: list[tuple[int, int]] = []
        self.free: list[tuple[int, int]] = []
        for number, count in enumerate(self.waiting):
            if count == 0:
                self._open(number)

    def _open(self, number: int) -> None:
        heapq.heappush(self.ready, (self.rank[number], number))
        self._look(number)

    def _look(self, number: int) -> None:
        if _growth(self.tape, number, self.left) <= 0:
            heapq.heappush(self.free, (self.rank[number], number))

    def next(self) -> int:
        """The first free step, or the first ready one where none is free."""
        for heap in (self.free, self.ready):
            while heap and heap[0][1] in self.done:
                heapq.heappop(heap)
            if heap:
                return heap[0][1]
        raise AssertionError("a step is ready as long as not all are done")

    def run(self, number: int) -> None:
        """Put a step at the end."""
        self.done[number] = None
        for value in self.tape.steps[number].reads:
            self.left[value] -= 1
            if self.left[value] == 1:
                for reader in self.readers[value]:
                    if reader not in self.done and self.waiting[reader] == 0:
                        self._look(reader)
        for follower in self.followers[number]:
            self.waiting[follower] -= 1
            if self.waiting[follower] == 0:
                self._open(follower)


def _growth(tape: Tape, number: int, left: dict[int, int]) -> int:
    """Bytes alive after a step beyond those before it."""
    step = tape.steps[number]
    dying = [v for v in step.reads if left[v] == 1 and v not in tape.results]
    freed = sum(tape.sizes[v] for v in dying if v >= tape.arguments)
    donated = sum(
        tape.sizes[value]
        for value, candidates in zip(step.writes, step.reuse or [()] * len(step.writes), strict=True)
        if any(c < tape.arguments and c in dying for c in candidates)
    )
    return sum(tape.sizes[value] for value in step.writes) - donated - freed
