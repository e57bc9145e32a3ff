"""The problem that the search solves, as plain data: one strategy per node, least cost, memory limit at every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

from jogak.errors import JogakError

FORBIDDEN = 10**18

_ONE_EACH = "a node needs one cost and one usage for each of its strategies"

Row: TypeAlias = tuple[int, Sequence[int], Sequence[int]]


@dataclass(frozen=True)
class Problem:
    """Choose one strategy for each node; minimize node costs plus edge costs under a limit on memory.

    Costs and usages are integers; a cost or usage of `FORBIDDEN` (10^18) or more means "impossible". Rows of costs and
    usages may be lists or one-dimensional integer arrays of numpy; arrays are read faster, and edges may share one.

    Attributes:
        costs: `costs[i][s]`, what strategy s of node i costs.
        usages: `usages[i][s]`, the memory it occupies.
        intervals: `intervals[i] = (lower, upper)`, the half-open time interval in which node i occupies memory.
        edges: `edges[e] = (i, j)`, two different nodes; several edges may join the same two.
        edge_costs: `edge_costs[e][s_i * k_j + s_j]`, where k_j is the number of strategies of j.
        limit: what the summed usage may not exceed at any time; None for no limit.
        extra_rows: further memory, each `(node, (lower, upper), usages)` with one usage for each strategy of the node.
            A node may have any number of them beside its interval of above; where they overlap in time they add up.
            So a folded layer, one node that stands for many, occupies different amounts at different times:
            `Problem(..., intervals=[(0, 4)], usages=[[8, 4]], extra_rows=[(0, (4, 9), [2, 1]), (0, (9, 12), [6, 3])])`.
    """

    costs: Sequence[Sequence[int]]
    usages: Sequence[Sequence[int]]
    intervals: Sequence[Sequence[int]]
    edges: Sequence[Sequence[int]]
    edge_costs: Sequence[Sequence[int]]
    limit: int | None
    extra_rows: Sequence[Row] = ()

    def rows(self) -> Iterator[Row]:
        """All memory rows: one for each node, then the extra ones."""
        for i, (interval, row) in enumerate(zip(self.intervals, self.usages, strict=True)):
            yield i, interval, row
        yield from self.extra_rows


@dataclass(frozen=True)
class Solution:
    """What the search found.

    Attributes:
        cost: cost of `choice`; None when there is no choice.
        lower_bound: no feasible choice costs less; None when the problem is proven to have no feasible choice.
        gap: (cost - lower_bound) / |cost|, 0 when proven optimal; None without a choice.
        feasible: True for a valid choice, False when none exists, None when none was found in time.
        seconds: wall time.
        choice: the strategy of each node; None when there is none.
        interrupted: whether the search ended by an interrupt (Ctrl-C).
    """

    cost: int | None
    lower_bound: int | None
    gap: float | None
    feasible: bool | None
    seconds: float
    choice: tuple[int, ...] | None
    interrupted: bool = False


def evaluate(problem: Problem, choice: Sequence[int]) -> tuple[int, int]:
    """The exact cost and the peak memory of a choice, in Python integers.

    The cost is at least `FORBIDDEN` when the choice contains something impossible. The peak is the largest summed
    usage over all times, 0 when no node occupies memory.
    """
    cost = sum(int(row[s]) for row, s in zip(problem.costs, choice, strict=True))
    for (i, j), table in zip(problem.edges, problem.edge_costs, strict=True):
        cost += int(table[choice[i] * len(problem.costs[j]) + choice[j]])
    change: dict[int, int] = {}
    for i, (lower, upper), row in problem.rows():
        if lower >= upper:
            continue
        used = int(row[choice[i]])
        change[lower] = change.get(lower, 0) + used
        change[upper] = change.get(upper, 0) - used
    return cost, max(accumulate(change[time] for time in sorted(change)), default=0)


def is_feasible(problem: Problem, choice: Sequence[int]) -> bool:
    """Whether a choice contains nothing impossible and stays within the limit."""
    cost, peak = evaluate(problem, choice)
    forbidden = any(row[choice[i]] >= FORBIDDEN for i, _, row in problem.rows())
    return cost < FORBIDDEN and not forbidden and (problem.limit is None or peak <= problem.limit)


def check_problem(problem: Problem, where: str | None = None) -> None:
    """Raise `JogakError` when the parts of a problem do not fit together."""
    counts = [len(row) for row in problem.costs]
    sizes = {"usages": len(problem.usages), "intervals": len(problem.intervals)}
    for name, size in sizes.items():
        if size != len(counts):
            raise JogakError(f"{len(counts)} nodes have costs but {size} have {name}", where=where)
    for i, count in enumerate(counts):
        if count == 0 or len(problem.usages[i]) != count:
            text = f"node {i} has {count} costs and {len(problem.usages[i])} usages"
            raise JogakError(text, where=where, hint=_ONE_EACH)
    for p, (i, _, row) in enumerate(problem.extra_rows):
        if not 0 <= i < len(counts):
            raise JogakError(f"extra row {p} belongs to node {i}, which does not exist", where=where)
        if len(row) != counts[i]:
            text = f"extra row {p} has {len(row)} usages for the {counts[i]} strategies of node {i}"
            raise JogakError(text, where=where, hint=_ONE_EACH)
    _check_edges(problem, counts, where)


def _check_edges(problem: Problem, counts: list[int], where: str | None) -> None:
    if len(problem.edges) != len(problem.edge_costs):
        raise JogakError(f"{len(problem.edges)} edges but {len(problem.edge_costs)} cost tables", where=where)
    for e, ((i, j), table) in enumerate(zip(problem.edges, problem.edge_costs, strict=True)):
        if i == j or not (0 <= i < len(counts) and 0 <= j < len(counts)):
            raise JogakError(f"edge {e} joins nodes {i} and {j}", where=where, hint="an edge joins two existing nodes")
        if len(table) != counts[i] * counts[j]:
            text = f"edge {e} has {len(table)} costs where {counts[i]} x {counts[j]} are needed"
            raise JogakError(text, where=where, hint="the cost of (s_i, s_j) is at s_i * k_j + s_j")


def check_choices(problem: Problem, choices: Sequence[Sequence[int]]) -> None:
    """Raise `JogakError` when a choice does not name an existing strategy for each node."""
    counts = [len(row) for row in problem.costs]
    for c, choice in enumerate(choices):
        if len(choice) != len(counts):
            raise JogakError(f"choice {c} names strategies for {len(choice)} of {len(counts)} nodes")
        wrong = next((i for i, s in enumerate(choice) if not 0 <= s < counts[i]), None)
        if wrong is not None:
            raise JogakError(f"choice {c} takes strategy {choice[wrong]} of the {counts[wrong]} of node {wrong}")
