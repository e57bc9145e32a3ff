"""Where a program is cut: which steps become one compiled function, and when collectives start and are waited for.

A call costs some microseconds and keeps the compiler from fusing across it; a cut lets a collective start earlier. So a
function is closed where a collective needs one of its results, or where a step reads a collective that is under way,
but not before it holds some steps: until then the start is put off, or the wait is put forward. It is also closed where
something is computed again: the other compiler orders the steps of a function as it likes, and would do that early,
which keeps both alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

GRAIN = 12
"""Steps that a function holds before a cut that is only there for overlap."""


@dataclass(frozen=True)
class Node:
    """A step of the program.

    Attributes:
        operands: numbers of the values that it reads.
        results: numbers of the values that it makes.
        communicates: whether it is a collective.
        again: whether it computes something a second time.
    """

    operands: tuple[int, ...]
    results: tuple[int, ...]
    communicates: bool
    again: bool = False


@dataclass
class _Cutter:
    nodes: Sequence[Node]
    parts: list[list[int]] = field(default_factory=list)
    open: list[int] = field(default_factory=list)
    put_off: list[int] = field(default_factory=list)
    made: set[int] = field(default_factory=set)
    under_way: set[int] = field(default_factory=set)

    def close(self) -> None:
        """End the open function, and start the collectives that waited for it."""
        if self.open:
            self.parts.append(self.open)
        for number in self.put_off:
            self._start(number)
        self.open, self.put_off, self.made = [], [], set()

    def _start(self, number: int) -> None:
        self.under_way.difference_update(self.nodes[number].operands)
        self.parts.append([number])
        self.under_way.update(self.nodes[number].results)

    def collective(self, number: int) -> None:
        """Take a collective: at once where it can, else when the open function ends."""
        operands = self.nodes[number].operands
        waiting = {each for at in self.put_off for each in self.nodes[at].results}
        if self.made.isdisjoint(operands) and waiting.isdisjoint(operands):
            self._start(number)  # before the open function, on which it does not depend
            return
        self.put_off.append(number)
        if not waiting.isdisjoint(operands) or len(self.open) >= GRAIN:
            self.close()

    def compute(self, number: int) -> None:
        """Put a step into the open function, or into a new one where it needs a collective."""
        operands = self.nodes[number].operands
        if self.open and self.nodes[number].again and not self.nodes[self.open[-1]].again:
            self.close()
        if any(not set(operands).isdisjoint(self.nodes[at].results) for at in self.put_off):
            self.close()
        late = self.under_way.intersection(operands)
        if late and len(self.open) >= GRAIN:
            self.close()
        self.under_way -= late
        self.open.append(number)
        self.made.update(self.nodes[number].results)
        if self.put_off and len(self.open) >= GRAIN:
            self.close()


def cut(nodes: Sequence[Node]) -> list[list[int]]:
    """The parts of a program in the order in which they run: a collective alone, or the steps of one function.

    Args:
        nodes: the steps in order.
    """
    cutter = _Cutter(nodes)
    for number, node in enumerate(nodes):
        if node.communicates:
            cutter.collective(number)
        else:
            cutter.compute(number)
    cutter.close()
    return cutter.parts


def read_outside(nodes: Sequence[Node], parts: Sequence[Sequence[int]], results: Sequence[int]) -> frozenset[int]:
    """The values that another part than their own reads, or that the program returns.

    Args:
        parts: of the program.
        results: the values that the program returns.
    """
    home = {value: at for at, part in enumerate(parts) for number in part for value in nodes[number].results}
    read = {
        value
        for at, part in enumerate(parts)
        for number in part
        for value in nodes[number].operands
        if home.get(value) != at
    }
    return frozenset(read.union(results))


def crossing(nodes: Sequence[Node], part: Sequence[int], outside: frozenset[int]) -> tuple[list[int], list[int]]:
    """What a function reads from outside, and which of its values are read outside.

    Args:
        part: the steps of the function.
        outside: the values that `read_outside` finds.
    """
    made = [value for number in part for value in nodes[number].results]
    inside = set(made)
    reads = dict.fromkeys(value for number in part for value in nodes[number].operands if value not in inside)
    return list(reads), [value for value in made if value in outside]
