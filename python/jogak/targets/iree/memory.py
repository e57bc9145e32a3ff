"""Where functions are cut so that a program keeps to its memory, on plain data.

While a function runs, what is alive in front of it stays, all its results have their memory, and its intermediate
values lie in one allocation that IREE lays out. A cut frees what dies in front of it, and lets memory for results
begin later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from jogak.targets.iree.cut import Node

_CALL = 15.0
_RESULT = 3.0
"""Microseconds that a call takes, and each of its results."""
_OFF = 2.0
"""What IREE takes for a function over our estimate corrects the estimates of its parts, by at most this factor."""


@dataclass(frozen=True)
class Memory:
    """What values take.

    Attributes:
        sizes: bytes of each value; 0 where it is not there.
        arguments: values that are there from the start.
        kept: values that are alive to the end.
        fused: values that are never in memory where one function makes and reads them.
        limit: bytes that the program may take.
    """

    sizes: Mapping[int, int]
    arguments: Sequence[int]
    kept: frozenset[int]
    fused: frozenset[int]
    limit: int


@dataclass
class Lives:
    """The values of a program that is cut, in the order in which its steps run.

    Attributes:
        starts: the position of the first step of each part, and behind them the number of steps.
        made: the position where a value is made; -1 for arguments.
        last: the position where it is read last.
        alive: bytes that are alive in front of each position and still needed there.
        ends: the values that are read last at a position.
        makes: the values that are made at a position.
    """

    memory: Memory
    starts: list[int] = field(default_factory=list)
    made: dict[int, int] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)
    alive: list[int] = field(default_factory=list)
    ends: list[list[int]] = field(default_factory=list)
    makes: list[tuple[int, ...]] = field(default_factory=list)

    def size(self, value: int) -> int:
        """Bytes of a value."""
        return self.memory.sizes.get(value, 0)


def lives(nodes: Sequence[Node], parts: Sequence[Sequence[int]], memory: Memory) -> Lives:
    """When each value is alive."""
    order = [nodes[number] for part in parts for number in part]
    found = Lives(memory, [0], makes=[node.results for node in order])
    for part in parts:
        found.starts.append(found.starts[-1] + len(part))
    found.made = dict.fromkeys(memory.arguments, -1)
    found.last = dict.fromkeys(memory.arguments, -1)
    for position, node in enumerate(order):
        found.made.update(dict.fromkeys(node.results, position))
        found.last.update(dict.fromkeys((*node.results, *node.operands), position))
    found.last.update((value, len(order)) for value in memory.kept)
    change = [0] * (len(order) + 2)
    found.ends = [[] for _ in range(len(order) + 1)]
    for value, end in found.last.items():
        change[found.made[value] + 1] += found.size(value)
        change[end + 1] -= found.size(value)
        if end >= 0:
            found.ends[end].append(value)
    found.alive = np.cumsum(change[: len(order) + 1]).tolist()
    return found


@dataclass
class Span:
    """A function that grows step by step.

    Attributes:
        outside: bytes that are alive in front of it, and its results.
        inside: bytes of its intermediate values where they are most.
    """

    lives: Lives
    start: int
    outside: int = 0
    inside: int = 0
    _profile: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        self.outside = self.lives.alive[self.start]
        self._profile = np.zeros(len(self.lives.makes) - self.start, np.int64)

    def grow(self, position: int) -> None:
        """Take the next step into it."""
        own = self.lives
        self.outside += sum(own.size(value) for value in own.makes[position])
        for value in own.ends[position]:
            begin = own.made[value] - self.start
            if begin < 0:
                continue
            self.outside -= own.size(value)
            if value not in own.memory.fused:
                stretch = self._profile[begin : position - self.start + 1]
                stretch += own.size(value)
                self.inside = max(self.inside, int(stretch.max()))

    def peak(self, scale: float) -> int:
        """Bytes while it runs, where IREE takes so many times the estimate for intermediate values."""
        return self.outside + int(scale * self.inside)


def span(own: Lives, part: int) -> Span:
    """What a part takes."""
    found = Span(own, own.starts[part])
    for position in range(own.starts[part], own.starts[part + 1]):
        found.grow(position)
    return found


def refine(
    nodes: Sequence[Node], parts: Sequence[Sequence[int]], memory: Memory, taken: Mapping[int, int]
) -> list[list[int]]:
    """The parts, those that are above the limit cut further, as little as is enough.

    Where no cut brings one of them below the limit, the lowest peak that it can have is the limit of all.

    Args:
        taken: for parts that are functions the bytes that IREE takes for intermediate values.
    """
    own = lives(nodes, parts, memory)
    ways = {}
    for number, inside in taken.items():
        now = span(own, number)
        if now.outside + inside > memory.limit:
            ways[number] = _ways(own, own.starts[number], own.starts[number + 1], inside, now)
    limit = max([memory.limit, *(each.lowest for each in ways.values())])
    made: list[list[int]] = []
    for number, part in enumerate(parts):
        places = ways[number].cheapest(limit) if number in ways else [own.starts[number], own.starts[number + 1]]
        start = own.starts[number]
        made.extend(list(part[i - start : j - start]) for i, j in pairwise(places))
    return made


@dataclass(frozen=True)
class _Ways:
    """How a function may be cut.

    Attributes:
        places: where, its ends included.
        spans: for two places the bytes and the results of the function between them.
    """

    places: Sequence[int]
    spans: Mapping[int, Mapping[int, tuple[int, int]]]

    @property
    def lowest(self) -> int:
        """The lowest peak."""
        found: dict[int, float] = dict.fromkeys(self.places, float("inf")) | {self.places[0]: 0.0}
        for i in self.places[:-1]:
            for j, (peak, _) in self.spans[i].items():
                found[j] = min(found[j], max(found[i], peak))
        return int(found[self.places[-1]])

    def cheapest(self, limit: int) -> list[int]:
        """Where to cut so that no function takes more than the limit, which is not below the lowest peak."""
        cost = dict.fromkeys(self.places, float("inf")) | {self.places[0]: 0.0}
        before: dict[int, int] = {}
        for i in self.places[:-1]:
            for j, (peak, results) in self.spans[i].items():
                price = cost[i] + _CALL + _RESULT * results
                if peak <= limit and price < cost[j]:
                    cost[j], before[j] = price, i
        way = [self.places[-1]]
        while way[-1] != self.places[0]:
            way.append(before[way[-1]])
        return way[::-1]


def _ways(own: Lives, start: int, end: int, taken: int, now: Span) -> _Ways:
    """How a function may be cut that takes so many bytes for intermediate values.

    Args:
        now: our estimate of the same.
    """
    places = _places(own, start, end)
    scale = min(max(taken / max(now.inside, 1), 1 / _OFF), _OFF)
    finest = max(_peaks(own, pair, scale)[pair[1]][0] for pair in pairwise(places))
    bound = max(own.memory.limit, finest)
    spans = {i: _peaks(own, places[at:], scale, bound) for at, i in enumerate(places[:-1])}
    spans[start][end] = now.outside + taken, spans[start].get(end, (0, 0))[1]
    return _Ways(places, spans)


def _places(own: Lives, start: int, end: int) -> list[int]:
    """Where a function may be cut: not between a value that is never in memory and its reader; its ends included."""
    closed = np.zeros(end - start + 1, bool)
    for position in range(start, end):
        for value in own.memory.fused.intersection(own.makes[position]):
            closed[position + 1 - start : own.last[value] + 1 - start] = True
    closed[0] = closed[-1] = False
    return [start + int(place) for place in np.flatnonzero(~closed)]


def _peaks(own: Lives, places: Sequence[int], scale: float, bound: float = float("inf")) -> dict[int, tuple[int, int]]:
    """For functions from the first place to each other one the bytes that they take, and how many results they have.

    Args:
        bound: bytes above which no function is wanted.
    """
    found: dict[int, tuple[int, int]] = {}
    grown, results, wanted = Span(own, places[0]), 0, set(places[1:])
    for position in range(places[0], places[-1]):
        grown.grow(position)
        results += len(own.makes[position]) - sum(own.made[value] >= places[0] for value in own.ends[position])
        if own.alive[places[0]] + int(scale * grown.inside) > bound:
            return found
        if position + 1 in wanted and grown.peak(scale) <= bound:
            found[position + 1] = grown.peak(scale), results
    return found
