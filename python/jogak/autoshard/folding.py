"""Repeated layers: which ops and arguments of a program may share one decision, found before anything is priced.

Layers show as runs of the op sequence that repeat with a period, in the forward pass, in the backward pass and in the
optimizer. Ops at equal places of a run get one decision; those of every other repeat get another one (`PHASES`), so
that plans that alternate between layers stay possible. Arguments share a decision when their users do. It is a
restriction of the plans, never a change of their costs: the plan of the folded problem is a plan of the program.

All that is linear in the number of ops happens here and costs some microseconds an op; strategies and prices are made
for the ops that stand for others.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jogak.search.runs import find_runs
from jogak.sharding.graph import Graph, Node
from jogak.sharding.rule import OpShardingRule

Ints = NDArray[np.int64]

PHASES = 2
"""Repeats of a layer that are decided separately."""
Marks = Mapping[int, Hashable]
"""For each value that the user constrains something that tells its constraint from others."""


@dataclass(frozen=True)
class Folding:
    """What stands for what.

    Attributes:
        graph: the program.
        stands: for each node the node that stands for it, itself where it is alone or the first of its kind.
        argument_stands: for each argument, by position, the value of the argument that stands for it.
        partial: for each value whether an op may leave it as a partial sum.
        kept: for each value whether how it is kept is a decision of its own, made once for all that use it.
        updating: for each node whether it is part of the optimizer's update.
        late: for each value whether only such nodes use it: what brings it to them can wait while others compute.
    """

    graph: Graph
    stands: Ints
    argument_stands: tuple[int, ...]
    partial: Sequence[bool]
    kept: Sequence[bool]
    updating: Sequence[bool]
    late: Sequence[bool]


def fold(graph: Graph, marks: Marks, *, layers: bool = True) -> Folding:
    """Find what may share a decision.

    Args:
        marks: constraints; values under different ones never share a decision.
        layers: whether repeated layers share decisions; equal micro-batches always do.
    """
    classes = _Classes(graph, marks)
    sequence = [classes.of(node) for node in graph.nodes]
    first = _in_first_micro_batch(graph, sequence)
    own = np.flatnonzero(first == np.arange(len(sequence)))
    stands = np.arange(len(sequence), dtype=np.int64)
    repeated = np.zeros(len(sequence), np.bool_)
    for start, period, repeats in find_runs([sequence[node] for node in own]) if layers else []:
        place = np.arange(period * repeats)
        stands[own[start + place]] = own[start + place // period % PHASES * period + place % period]
        repeated[own[start + place]] = True
    stands, repeated = stands[first], repeated[first]
    arguments = _fold_arguments(classes, marks, stands, repeated)
    return Folding(graph, stands, arguments, classes.partial, classes.kept, classes.updating, classes.late)


def _in_first_micro_batch(graph: Graph, sequence: Sequence[int]) -> Ints:
    """For each node its counterpart in the first micro-batch; itself where there is none."""
    found: dict[Hashable, int] = {}
    first = [
        node.index if node.part is None else found.setdefault((node.part[1], sequence[node.index]), node.index)
        for node in graph.nodes
    ]
    return np.array(first, dtype=np.int64)


class _Classes:
    """Numbers ops in program order so that those with equal numbers have equal decisions at equal prices.

    Besides what an op is, that depends on which of its operands may be partial sums, and on how its results are kept.
    """

    def __init__(self, graph: Graph, marks: Marks) -> None:
        self.graph = graph
        self.marks = marks
        self.users = _users(graph)
        self.updating = find_updates(graph)
        self.late = _late(graph, self.updating)
        self.partial = [False] * len(graph.values)
        self.kept = [False] * len(graph.values)
        types: dict[Hashable, int] = {}
        self.types = [types.setdefault((value.shape, value.element), len(types)) for value in graph.values]
        self._read: dict[int | None, int | None] = {None: None, **dict(enumerate(self.types))}
        self._made = list(zip(self.types, self.late, strict=True))
        self._rules: dict[OpShardingRule, int] = {}
        self._rule_of: dict[int, int] = {}
        self._known: dict[Hashable, int] = {}
        self._flows: dict[Hashable, tuple[bool, ...]] = {}

    def of(self, node: Node) -> int:
        """The class of a node; what it leaves partial and keeps is noted."""
        rule = self._rule_of.get(id(node.rule))
        if rule is None:
            rule = self._rule_of[id(node.rule)] = self._rules.setdefault(node.rule, len(self._rules))
        partial, operands = self.partial, node.operands
        came = tuple([v is not None and partial[v] for v in operands]) if node.through or node.sums else ()
        flow: Hashable = rule, node.through, node.sums, came
        leaves = self._flows.get(flow)
        if leaves is None:
            leaves = self._flows[flow] = _leaves_partial(node, came)
        kept = []
        for value, left in zip(node.results, leaves, strict=True):
            partial[value] = left
            if self.users[value] > 1 or value in self.marks:
                self.kept[value] = True
                kept.append((value - node.results[0], self.marks.get(value)))
        read = tuple(map(self._read.__getitem__, operands))
        same = () if len(set(operands)) == len(operands) else tuple([operands.index(v) for v in operands])
        made = tuple(map(self._made.__getitem__, node.results))
        key = node.op, flow, read, same, made, node.flops, node.view, tuple(kept), self.updating[node.index]
        return self._known.setdefault(key, len(self._known))


_MANY = 8
"""An op that leads to updates of more arguments than this belongs to the model."""


def find_updates(graph: Graph) -> list[bool]:
    """Which ops are the optimizer's: those that read arguments and lead to nothing but their new values.

    Between a gradient and its use there, the rest of the backward pass computes.
    """
    leads: dict[int | None, frozenset[int]] = {}
    lost: set[int | None] = set()  # lead to something else
    outside: set[int | None] = set()  # an op of the model reads them
    for at, value in enumerate(graph.results):
        if at in graph.updates and value is not None:
            leads[value] = frozenset([graph.arguments[graph.updates[at]]])
        else:
            lost.add(value)
    found = [False] * len(graph.nodes)
    for node in reversed(graph.nodes):
        reached = _reached(node.results, leads, lost)
        if reached is None:
            lost.update(node.operands)
            outside.update(node.operands)
            continue
        updates = bool(reached) and outside.isdisjoint(node.results) and not reached.isdisjoint(node.operands)
        found[node.index] = updates
        if not updates:
            outside.update(node.operands)
        for operand in node.operands:
            if operand in lost:
                continue
            before = leads.get(operand, reached)
            leads[operand] = before = reached if before is reached else before | reached
            if len(before) > _MANY:
                lost.add(operand)
    return found


def _reached(
    results: Sequence[int], leads: Mapping[int | None, frozenset[int]], lost: set[int | None]
) -> frozenset[int] | None:
    """The arguments that an op leads to updates of; None when it belongs to the model."""
    if not results or not lost.isdisjoint(results):
        return None
    nothing: frozenset[int] = frozenset()
    if len(results) == 1:
        return leads.get(results[0], nothing)
    reached = nothing.union(*[leads.get(value, nothing) for value in results])
    return None if len(reached) > _MANY else reached


def _late(graph: Graph, updating: Sequence[bool]) -> list[bool]:
    """Values that only optimizer ops use."""
    late = np.zeros(len(graph.values), np.bool_)
    updates = np.array(updating, dtype=np.bool_)[graph.uses.node]
    late[graph.uses.value[updates]] = True
    late[graph.uses.value[~updates]] = False
    late[_returned(graph)] = False
    found: list[bool] = late.tolist()
    return found


def _users(graph: Graph) -> list[int]:
    """How many ops and results use each value."""
    pairs = np.sort(graph.uses.node * len(graph.values) + graph.uses.value)
    once = pairs[np.diff(pairs, prepend=-1) > 0] % max(len(graph.values), 1)
    count = np.bincount(np.concatenate([once, _returned(graph)]), minlength=len(graph.values))
    found: list[int] = count.tolist()
    return found


def _returned(graph: Graph) -> Ints:
    return np.array([value for value in graph.results if value is not None], dtype=np.int64)


def _leaves_partial(node: Node, came: Sequence[bool]) -> tuple[bool, ...]:
    """Which results an op may leave as partial sums, when some operands may come as such."""
    incoming = list(came)
    for members in node.sums:
        if all(node.operands[position] is not None for position in members):
            total = any(came[position] for position in members)
            for position in members:
                incoming[position] = total and position == members[0]
    through = any(incoming[position] for position in node.through)
    return tuple(through or may_be_partial(node.rule, number) for number in range(len(node.results)))


def may_be_partial(rule: OpShardingRule, number: int) -> bool:
    """Whether an op can make a result in summands."""
    return any(number < len(factor.combiners) and factor.combiners[number] for factor in rule.factors)


def _fold_arguments(classes: _Classes, marks: Marks, stands: Ints, repeated: NDArray[np.bool_]) -> tuple[int, ...]:
    """Arguments share a decision when all their users do."""
    graph = classes.graph
    uses: dict[int, list[tuple[int, int]]] = {value: [] for value in graph.arguments}
    found, again = graph.argument_uses, repeated.tolist()
    alone = set(found.value[~repeated[found.node]].tolist())
    for value, node, position in zip(
        found.value.tolist(), stands[found.node].tolist(), found.position.tolist(), strict=True
    ):
        uses[value].append((node, position))
    for argument, result in graph.ties:
        producer = graph.values[result].producer
        if producer is None or not again[producer]:
            alone.add(argument)
            continue
        uses[argument].append((int(stands[producer]), -1 - graph.nodes[producer].results.index(result)))
    known: dict[Hashable, int] = {}
    return tuple(
        value if value in alone or not users
        else known.setdefault((classes.types[value], marks.get(value), tuple(sorted(users))), value)
        for value, users in uses.items()
    )  # fmt: skip
