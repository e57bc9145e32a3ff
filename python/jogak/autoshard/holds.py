"""The memory of a plan over time: what every decision holds, from where to where in the program.

Counted are arguments always, results from their op to their last use (a reshape keeps its operand alive), and arguments
as an op needs them while it runs, where they are stored otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from jogak.autoshard.sites import OpSite, Sites, is_free, local_bytes
from jogak.sharding.graph import Graph

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Kind(Enum):
    """What is held: an argument as it is stored, what an op makes, or an argument beside that as an op needs it."""

    ARGUMENT = "argument"
    MADE = "made"
    GATHERED = "gathered"


@dataclass(frozen=True)
class Hold:
    """Memory of one decision: for each state the bytes of a value on a device.

    Attributes:
        decision: whose.
        kind: of what.
        values: the values, alike in layers that share the decision.
        lower, upper: for each of them the half-open interval of node numbers in which it is held.
        bytes: of one of them, for each state.
        stored: for a gathered argument the decision that stores it, and the bytes of each of its states. Where both lie
            alike there is no copy; the solver counts it all the same, which keeps memory a sum of single decisions and
            plans on the safe side.
    """

    decision: int
    kind: Kind
    values: Ints
    lower: Ints
    upper: Ints
    bytes: Floats
    stored: tuple[int, Floats] | None = None

    def held(self, choice: Sequence[int]) -> float:
        """Bytes of each value under a choice."""
        held = float(self.bytes[choice[self.decision]])
        if self.stored is not None and held <= self.stored[1][choice[self.stored[0]]]:
            return 0.0
        return held


@dataclass(frozen=True)
class Lives:
    """When values are held, whatever the plan.

    Attributes:
        end: one more than the last time.
        lower, upper: for each value the half-open interval of node numbers; empty without bytes of its own.
    """

    end: int
    lower: Ints
    upper: Ints


@dataclass(frozen=True)
class Holds:
    """All memory of a problem.

    Attributes:
        end: one more than the last time.
        each: the memory of every decision.
        whole: the memory without recomputation, where this is that with a share; None where nothing is recomputed.
    """

    end: int = 0
    each: tuple[Hold, ...] = field(default=())
    whole: Holds | None = None

    @cached_property
    def _times(self) -> tuple[Ints, Ints, Ints]:
        """For every interval its hold, its start and its end."""
        counts = [len(hold.values) for hold in self.each]
        lower = np.concatenate([np.zeros(0, np.int64), *(hold.lower for hold in self.each)])
        upper = np.concatenate([np.zeros(0, np.int64), *(hold.upper for hold in self.each)])
        return np.repeat(np.arange(len(counts)), counts), lower, upper

    def _profile(self, held: Floats) -> Floats:
        number, lower, upper = self._times
        change = np.bincount(lower, held[number], self.end + 1) - np.bincount(upper, held[number], self.end + 1)
        found: Floats = np.cumsum(change)
        return found

    def peak(self, choice: Sequence[int]) -> tuple[float, int]:
        """The most bytes that a choice holds at once, and the node number where."""
        profile = self._profile(np.array([hold.held(choice) for hold in self.each]))
        return float(profile.max()), int(profile.argmax())

    def least(self) -> tuple[float, int]:
        """Bytes that no plan goes below, and the node number where: every decision at its smallest at that time."""
        held = [0.0 if hold.kind is Kind.GATHERED else float(hold.bytes.min()) for hold in self.each]
        profile = self._profile(np.array(held))
        return float(profile.max()), int(profile.argmax())

    def without_copies(self) -> Holds:
        """The memory without arguments as ops need them."""
        return replace(self, each=tuple(hold for hold in self.each if hold.kind is not Kind.GATHERED))

    def with_share(self, share: float, touches: Mapping[int, Sequence[int]]) -> Holds:
        """The memory when so much of what ops make is alive at once, and the rest made again.

        An op needs the whole of what it reads and makes, however much is recomputed.

        Args:
            touches: for each value the numbers of the nodes that make or read its bytes.
        """

        def shared(hold: Hold) -> Iterator[Hold]:
            if hold.kind is not Kind.MADE:
                yield hold
                return
            yield replace(hold, bytes=share * hold.bytes)
            at = [(value, node) for value in hold.values.tolist() for node in touches.get(value, ())]
            values, nodes = np.array(at, dtype=np.int64).reshape(-1, 2).T
            yield replace(hold, values=values, lower=nodes, upper=nodes + 1, bytes=(1 - share) * hold.bytes)

        return replace(self, each=tuple(part for hold in self.each for part in shared(hold)), whole=self)

    def at(self, time: int) -> Iterator[tuple[Hold, Ints]]:
        """What is held at a time, and which of its values."""
        for hold in self.each:
            values = hold.values[(hold.lower <= time) & (time < hold.upper)]
            if len(values):
                yield hold, values

    def rows(self) -> Iterator[tuple[int, tuple[int, int], Ints]]:
        """Decision, interval and bytes of each state; what one decision holds at equal times is one row."""
        for hold in self.each:
            size = np.ceil(hold.bytes).astype(np.int64)
            times, counts = np.unique(np.stack([hold.lower, hold.upper], axis=1), axis=0, return_counts=True)
            for (lower, upper), count in zip(times.tolist(), counts.tolist(), strict=True):
                yield hold.decision, (lower, upper), count * size


def find_lives(graph: Graph) -> Lives:
    """The interval in which each value's bytes are held.

    A reshape holds none of its own: its operand lives as long as it does. A result that replaces an argument is written
    into the argument's bytes.
    """
    end = len(graph.nodes) + 1
    root = np.arange(len(graph.values))
    lower, upper = np.zeros_like(root), np.zeros_like(root)
    made = [value for node in graph.nodes for value in node.results]
    lower[made] = np.repeat(np.arange(len(graph.nodes)), [len(node.results) for node in graph.nodes])
    upper[made] = lower[made] + 1
    for node in graph.nodes:
        if node.view and node.operands[0] is not None:
            root[list(node.results)] = root[node.operands[0]]
            lower[list(node.results)] = upper[list(node.results)] = 0
    np.maximum.at(upper, root[graph.uses.value], graph.uses.node + 1)
    for at, returned in enumerate(graph.results):
        if returned is not None and at not in graph.updates:
            upper[root[returned]] = end - 1
    for at in graph.updates:
        written = graph.results[at]
        if written is not None:
            lower[written] = upper[written] = 0
    lower[list(graph.arguments)], upper[list(graph.arguments)] = 0, end
    return Lives(end, lower, upper)


def find_touches(graph: Graph) -> dict[int, list[int]]:
    """For each value that has bytes of its own the nodes that need them, through reshapes too.

    A result of the shape of an operand may be written over it, and is not counted beside it.
    """
    root: dict[int, int] = {}
    found: dict[int, list[int]] = {}
    for index, node in enumerate(graph.nodes):
        if node.view and node.operands[0] is not None:
            root[node.results[0]] = root.get(node.operands[0], node.operands[0])
            continue
        read = {root.get(v, v) for v in node.operands if v is not None}
        shapes = {graph.values[value].shape for value in read}
        made = {value for value in node.results if graph.values[value].shape not in shapes}
        for value in read | made:
            found.setdefault(value, []).append(index)
    return found


def find_holds(sites: Sites, lives: Lives) -> Holds:
    """What every decision holds."""
    return Holds(lives.end, (*_kept(sites, lives), *_gathered(sites)))


def _kept(sites: Sites, lives: Lives) -> Iterator[Hold]:
    """Arguments as they are stored, and what ops make."""
    values = np.flatnonzero(lives.upper > lives.lower)
    homes = np.stack([sites.owner[values], sites.result[values]], axis=1)
    order = np.lexsort((homes[:, 1], homes[:, 0]))
    cuts = np.flatnonzero(np.any(np.diff(homes[order], axis=0), axis=1)) + 1
    arguments = set(sites.graph.arguments)
    for members in np.split(values[order], cuts) if len(values) else []:
        decision, result = sites.home(int(members[0]))
        kind = Kind.ARGUMENT if int(members[0]) in arguments else Kind.MADE
        held = _bytes(sites, int(members[0]), decision, result)
        yield Hold(decision, kind, members, lives.lower[members], lives.upper[members], held)


def _bytes(sites: Sites, value: int, decision: int, result: int) -> Floats:
    described = sites.values[value]
    placed = sites.outgoing(decision, result)
    return np.array([local_bytes(described, each, sites.mesh) for each in placed], np.float64)


def _gathered(sites: Sites) -> Iterator[Hold]:
    """An argument as an op needs it is held while the op runs."""
    graph = sites.graph
    arguments = set(graph.arguments)
    found: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    all_uses = graph.argument_uses
    owner, stored_by = sites.own[all_uses.node], sites.owner[all_uses.value]
    columns = owner, all_uses.position, stored_by, all_uses.value, all_uses.node
    for own, position, stored, value, node in zip(*(column.tolist() for column in columns), strict=True):
        found.setdefault((own, position, stored), []).append((value, node))
    for (decision, position, stored), uses in found.items():
        site = sites.sites[decision]
        assert isinstance(site, OpSite)
        value = uses[0][0]
        if is_free(site) or site.node.operands[position] not in arguments:
            continue
        described = sites.values[value]
        needed = [local_bytes(described, each, sites.mesh) for each in site.operands(position)]
        times = np.array([time for _, time in uses], dtype=np.int64)
        values = np.array([argument for argument, _ in uses], dtype=np.int64)
        kept = stored, _bytes(sites, value, stored, -1)
        yield Hold(decision, Kind.GATHERED, values, times, times + 1, np.array(needed, np.float64), kept)
