"""The decisions of a program: one site for every op, every argument, and every result that several ops use.

Sites and links are plain data, made from the program's `Graph` and its `Folding` alone: what has to be decided
together, before it is known what anything costs. With folded layers they are made once for all layers alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from jogak.autoshard.folding import Folding
from jogak.autoshard.strategies import kept_of, op_strategies, operands_of, placements, results_of
from jogak.cost.element import element_size
from jogak.sharding.graph import Graph, Node, Value
from jogak.sharding.mesh import Mesh
from jogak.sharding.rule import Factor, FactorKind, OpShardingRule
from jogak.sharding.sharding import Sharding
from jogak.sharding.strategy import Strategy

SUM = "sum"
"""The op of a site that stands for no op of the program: the sum that an op uses of some of its operands."""


@dataclass(frozen=True)
class OpSite:
    """How one op is done.

    Attributes:
        node: the op; its operands may name sums, which are values behind those of the program.
        mesh: the mesh.
    """

    node: Node
    mesh: Mesh

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """What can be chosen."""
        return op_strategies(self.node.rule, self.node.through, self.mesh)

    def __len__(self) -> int:
        return len(self.strategies)

    def results(self, number: int) -> tuple[Sharding, ...]:
        """How each strategy leaves a result."""
        return results_of(self.node.rule, self.node.through, self.mesh, number)

    def operands(self, position: int) -> tuple[Sharding, ...]:
        """How each strategy needs an operand."""
        return operands_of(self.node.rule, self.node.through, self.mesh, position)


@dataclass(frozen=True)
class StoredSite:
    """How one value is kept: an argument, or a result that several ops use.

    Attributes:
        value: its number.
        shardings: what can be chosen.
    """

    value: int
    shardings: tuple[Sharding, ...]

    def __len__(self) -> int:
        return len(self.shardings)


Site = OpSite | StoredSite
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Link:
    """A value that goes from one site to another.

    Attributes:
        source, target: numbers of the sites.
        value: which value; one of several alike.
        result: of an op site as the source, the number of the result; -1 for a stored value.
        operand: of an op site as the target, the position of the operand; -1 for a stored value.
        alike: how many values go this way, in layers that share their decisions.
        hideable: whether what moves the value can run beside kernels: of an argument, which is there from the start,
            and of a gradient, which the optimizer waits for.
        waits: whether what moves the value can wait for others of its kind, and be done in one with them: of a
            gradient.
    """

    source: int
    target: int
    value: int
    result: int
    operand: int
    alike: int
    hideable: bool = False
    waits: bool = False


@dataclass
class Sites:
    """All decisions of a program and what connects them.

    Attributes:
        graph: the program.
        mesh: the mesh.
        values: its values, and behind them the sums.
        sites: the decisions; with folded layers one stands for many ops or values.
        alike: for how many each stands.
        links: the values between them.
        owner: for each value the site that keeps it.
        result: for each value the number of the result there (-1: stored).
        own: for each node the number of its op's site; those of its sums lie before it, those of what it keeps behind.
    """

    graph: Graph
    mesh: Mesh
    values: list[Value]
    sites: list[Site] = field(default_factory=list)
    alike: list[int] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    owner: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    result: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    own: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    def placements_of(self, link: Link) -> tuple[tuple[Sharding, ...], tuple[Sharding, ...]]:
        """The shardings that the states of a link's two ends mean."""
        return self.outgoing(link.source, link.result), self.incoming(link.target, link.operand)

    def outgoing(self, site: int, result: int) -> tuple[Sharding, ...]:
        """How the states of a site leave a value."""
        source = self.sites[site]
        return source.shardings if isinstance(source, StoredSite) else source.results(result)

    def incoming(self, site: int, operand: int) -> tuple[Sharding, ...]:
        """How the states of a site need a value."""
        target = self.sites[site]
        return target.shardings if isinstance(target, StoredSite) else target.operands(operand)

    def home(self, value: int) -> tuple[int, int]:
        """The site that keeps a value, and the number of the result there; -1: it is stored."""
        return int(self.owner[value]), int(self.result[value])

    @cached_property
    def returned(self) -> list[int]:
        """Values that `@main` returns and that replace no argument."""
        graph = self.graph
        return [v for at, v in enumerate(graph.results) if v is not None and at not in graph.updates]


def find_sites(folding: Folding, mesh: Mesh, given: Mapping[int, tuple[Sharding, ...]]) -> Sites:
    """List the decisions.

    Args:
        folding: what shares a decision.
        given: for some values the shardings that they may have.
    """
    return _Builder(folding, mesh, given).build()


class _Builder:
    """Makes the sites of ops that stand for others, then joins all ops' operands to them."""

    def __init__(self, folding: Folding, mesh: Mesh, given: Mapping[int, tuple[Sharding, ...]]) -> None:
        graph = folding.graph
        self.folding, self.given = folding, given
        self.found = Sites(graph, mesh, list(graph.values))
        self.owner = np.full(len(graph.values), -1, np.int64)
        self.result = np.full(len(graph.values), -1, np.int64)
        self.ends: list[tuple[Ints, int, int]] = []
        """Values, and the site and position that each of them goes to."""

    def build(self) -> Sites:
        found, graph = self.found, self.folding.graph
        self._add_arguments()
        found.own = np.zeros(len(graph.nodes), np.int64)
        for members in _groups(self.folding.stands):
            site = self._add_node(graph.nodes[members[0]], graph.operands.of(members), graph.made.of(members))
            found.own[members] = site
        for argument, result in graph.ties:
            self.ends.append((np.array([result]), int(self.owner[argument]), -1))
        found.links += self._joined()
        found.owner, found.result = self.owner, self.result
        return found

    def _add_arguments(self) -> None:
        """A site for each argument that stands for itself."""
        found, graph = self.found, self.folding.graph
        number: dict[int, int] = {}
        for value, stands in zip(graph.arguments, self.folding.argument_stands, strict=True):
            if stands not in number:
                shardings = self.given.get(stands) or placements(graph.values[stands].shape, found.mesh)
                number[stands] = self._add(StoredSite(stands, shardings), 0)
            self.owner[value] = number[stands]
            found.alike[number[stands]] += 1

    def _add(self, site: Site, alike: int) -> int:
        self.found.sites.append(site)
        self.found.alike.append(alike)
        return len(self.found.sites) - 1

    def _add_node(self, node: Node, operands: Ints, results: Ints) -> int:
        """The sites of a node and of all that it stands for; returns the number of its own.

        Args:
            operands, results: a row of values for each of those nodes, itself the first; operands may be -1.
        """
        found = self.found
        inputs = [_Input(value, column) for value, column in zip(node.operands, operands.T, strict=True)]
        for members in node.sums:
            summands = [inputs[position] for position in members]
            if any(each.value is None for each in summands):
                continue
            total = self._add_sum(node, summands)
            for position in members:
                inputs[position] = total if position == members[0] else replace(total, value=None)
        site = self._add_op(node, inputs, len(operands))
        for number, value in enumerate(node.results):
            self.owner[results[:, number]], self.result[results[:, number]] = site, number
            if self.folding.kept[value]:
                rule, through = node.rule, self._through(node, inputs)
                options = self.given.get(value) or kept_of(rule, through, found.mesh, number, found.values[value].shape)
                kept = self._add(StoredSite(value, options), len(operands))
                late = self.folding.late[value]
                found.links.append(Link(site, kept, value, number, -1, len(operands), late, late))
                self.owner[results[:, number]], self.result[results[:, number]] = kept, -1
        return site

    def _add_sum(self, node: Node, summands: Sequence[_Input]) -> _Input:
        """A site for a sum that the node uses, so that its summands can be reduced together."""
        found = self.found
        described = found.values[summands[0].value or 0]
        total = len(found.values)
        found.values.append(replace(described, id=total, name=f"sum in {node.location}", producer=node.index))
        rule = _elementwise(described.shape, len(summands))
        values = tuple(each.value for each in summands)
        made = Node(node.index, SUM, rule, values, (total,), node.location, 0.0, tuple(range(len(summands))))
        site = self._add_op(made, summands, len(summands[0].column))
        return _Input(total, summands[0].column, site, any(map(self._may_be_partial, summands)))

    def _add_op(self, node: Node, inputs: Sequence[_Input], alike: int) -> int:
        through = self._through(node, inputs)
        node = replace(node, operands=tuple(each.value for each in inputs), through=through)
        site = self._add(OpSite(node, self.found.mesh), alike)
        seen = set()
        for position, each in enumerate(inputs):
            needed = (each.value, node.rule.operands[position], position in through)
            if each.value is None or needed in seen:
                continue
            seen.add(needed)
            if each.site is None:
                self.ends.append((each.column, site, position))
            else:
                late = self.folding.updating[node.index]
                self.found.links.append(Link(each.site, site, each.value, 0, position, alike, late, late))
        return site

    def _through(self, node: Node, inputs: Sequence[_Input]) -> tuple[int, ...]:
        """Where partial sums may come in; nowhere when none can come."""
        return node.through if any(self._may_be_partial(inputs[position]) for position in node.through) else ()

    def _may_be_partial(self, each: _Input) -> bool:
        if each.value is None or each.site is not None:
            return each.value is not None and each.partial
        return self.folding.partial[each.value]

    def _joined(self) -> Iterator[Link]:
        """A link for each two sites between which values go, and each place where they end."""
        if not self.ends:
            return
        values = np.concatenate([column for column, _, _ in self.ends])
        counts = [len(column) for column, _, _ in self.ends]
        targets = np.repeat([site for _, site, _ in self.ends], counts)
        operands = np.repeat([operand for _, _, operand in self.ends], counts)
        ways = np.stack([self.owner[values], targets, self.result[values] + 1, operands + 1])
        sizes = tuple(int(each) + 1 for each in ways.max(axis=1))
        # one number for each way: sorting rows takes ten times as long
        different, first, alike = np.unique(np.ravel_multi_index(ways, sizes), return_index=True, return_counts=True)
        rows = np.stack(np.unravel_index(different, sizes), axis=1) - np.array([0, 0, 1, 1])
        for (source, target, result, operand), at, count in zip(rows.tolist(), first, alike, strict=True):
            value = int(values[at])
            waits = operand >= 0 and self.folding.late[value]
            hideable = waits or (operand >= 0 and self.found.graph.values[value].producer is None)
            yield Link(source, target, value, result, operand, int(count), hideable, waits)


@dataclass(frozen=True)
class _Input:
    """What comes into an op and into all that it stands for.

    Attributes:
        value: the value; None for one that is free, or part of a sum.
        column: that value for each of the ops.
        site: of a sum its site.
        partial: whether a sum may come as a partial one.
    """

    value: int | None
    column: Ints
    site: int | None = None
    partial: bool = False


def _groups(stands: Ints) -> Iterator[Ints]:
    """The nodes that each node stands for, itself the first."""
    if not len(stands):
        return
    order = np.argsort(stands, kind="stable")
    starts = np.flatnonzero(np.diff(stands[order])) + 1
    yield from np.split(order, starts)


def _elementwise(shape: tuple[int, ...], operands: int) -> OpShardingRule:
    factors = tuple(Factor(size, FactorKind.PARALLEL) for size in shape)
    dims = tuple((number,) if size != 1 else () for number, size in enumerate(shape))
    return OpShardingRule(factors, (dims,) * operands, (dims,))


def is_free(site: OpSite) -> bool:
    """Whether the op is no kernel: a reshape, a slice in one stretch, or a sum that its user takes."""
    return site.node.view or site.node.op == SUM


def bytes_of(value: Value) -> int:
    """Bytes of one element of a value."""
    return element_size(value.element)


def local_bytes(value: Value, placed: Sharding, mesh: Mesh) -> int:
    """Bytes of a value on a device, padding included."""
    return prod(placed.local_shape(value.shape, mesh)) * bytes_of(value)
