"""The order with the lowest peak, for tapes of a few steps: dynamic programming over sets of finished steps.

What is alive depends on the set of finished steps, and on which updates were written over their arguments: those take
no bytes of their own, and whether they could depends on what was finished when they were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jogak.memory.beam import beam_search, unwind
from jogak.memory.tape import Step, Tape, lay_out

LARGEST = 25
"""Steps of a tape from which on there are too many sets."""
_WIDTH = 2_000
"""Sets of one size; beyond it the answer is good, but not proven."""


@dataclass(frozen=True)
class _State:
    """Bytes alive between two steps, the finished steps as bits, the values that lie in the memory of arguments."""

    live: int
    done: int
    inside: frozenset[int]
    trail: tuple[int, object] | None

    @property
    def key(self) -> tuple[int, frozenset[int]]:
        """What the future depends on."""
        return self.done, self.inside


def exact_order(tape: Tape, start: Sequence[int] | None = None) -> tuple[list[int], bool]:
    """The order with the lowest peak that is found, never above that of a first one, and whether none is lower.

    Searches for an order below the best peak so far until there is none. The answer is proven where the last search saw
    every order below it: where no level had more sets than the beam keeps.

    Args:
        start: the order to beat, the program's own by default; it is the answer where none is lower.
    """
    search = _Search(tape)
    best = list(range(len(tape.steps)) if start is None else start)
    while True:
        found, complete = search.below(lay_out(tape, best).peak)
        if found is None:
            return best, complete
        best = found


class _Search:
    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        makers = tape.makers
        self.needs = [sum({1 << makers[v] for v in step.reads if v in makers}) for step in tape.steps]
        self.readers = [0] * len(tape.sizes)
        for number, step in enumerate(tape.steps):
            for value in step.reads:
                self.readers[value] |= 1 << number

    def below(self, limit: int) -> tuple[list[int] | None, bool]:
        """An order whose peak is below a limit, and whether every order was looked at."""
        start = _State(self.tape.resident, 0, frozenset(), None)
        last, complete = beam_search(start, lambda s: self._steps(s, limit), len(self.tape.steps), _WIDTH)
        return None if last is None else unwind(last.trail), complete

    def _steps(self, state: _State, limit: int) -> Sequence[_State]:
        """The states after one more step; a single one where a step fits that leaves no more alive than before it.

        Such a step may as well run now: no later moment gets worse by it.
        """
        found: list[_State] = []
        for number, step in enumerate(self.tape.steps):
            if state.done >> number & 1 or self.needs[number] & ~state.done:
                continue
            peak, after = self._run(state, number, step)
            if peak >= limit:
                continue
            if after.live <= state.live and not self._might_lie_inside(state, step):
                return [after]
            found.append(after)
        return found

    def _might_lie_inside(self, state: _State, step: Step) -> bool:
        """Whether a step may be written over an argument: later perhaps, when that is not read any more."""
        return any(old < self.tape.arguments or old in state.inside for row in step.reuse for old in row)

    def _run(self, state: _State, number: int, step: Step) -> tuple[int, _State]:
        """The bytes while a step runs, and the state behind it, by the rules of `lay_out`."""
        sizes, done = self.tape.sizes, state.done | 1 << number
        dying = [v for v in step.reads if not self.readers[v] & ~done and v not in self.tape.results]
        taken: set[int] = set()
        inside = set(state.inside)
        during = state.live
        for value, candidates in zip(step.writes, step.reuse or [()] * len(step.writes), strict=True):
            for old in candidates:
                if old in dying and old not in taken and sizes[old] == sizes[value] > 0:
                    taken.add(old)
                    if old < self.tape.arguments or old in inside:
                        inside.add(value)
                    break
            else:
                during += sizes[value]
        freed = [v for v in dying if v >= self.tape.arguments and v not in taken]
        freed += [v for v in step.writes if not self.readers[v] and v not in self.tape.results]
        after = during - sum(sizes[v] for v in freed if v not in inside)
        return during, _State(after, done, frozenset(inside - set(dying)), (number, state.trail))
