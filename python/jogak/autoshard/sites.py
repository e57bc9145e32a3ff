"""The decisions of a program: one site for every op, every argument, and every partial result that several ops use.

Sites and links are plain data, made from the program's `Graph` alone: what has to be decided together, before it is
known what anything costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from jogak.autoshard.strategies import kept_of, op_strategies, operands_of, placements, results_of
from jogak.sharding.graph import ELEMENT_BYTES, Graph, Node, Value
from jogak.sharding.mesh import Mesh
from jogak.sharding.rule import Factor, FactorKind, OpShardingRule
from jogak.sharding.rules.linearity import VIEWS
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
    """How one value is kept: an argument, or a partial result that several ops use.

    Attributes:
        value: its number.
        shardings: what can be chosen.
    """

    value: int
    shardings: tuple[Sharding, ...]

    def __len__(self) -> int:
        return len(self.shardings)


Site = OpSite | StoredSite


@dataclass(frozen=True)
class Link:
    """A value that goes from one site to another.

    Attributes:
        source, target: numbers of the sites.
        value: which value.
        result: of an op site as the source, the number of the result; -1 for a stored value.
        operand: of an op site as the target, the position of the operand; -1 for a stored value.
    """

    source: int
    target: int
    value: int
    result: int
    operand: int


@dataclass
class Sites:
    """All decisions of a program and what connects them.

    Attributes:
        graph: the program.
        mesh: the mesh.
        values: its values, and behind them the sums.
        sites: the decisions.
        links: the values between them.
        home: for each value the site that keeps it, and the number of the result there (-1: stored).
        parent: for each site the node that it belongs to; None for an argument's.
        partial: values that an op may leave as partial sums.
    """

    graph: Graph
    mesh: Mesh
    values: list[Value]
    sites: list[Site] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    home: dict[int, tuple[int, int]] = field(default_factory=dict)
    parent: list[int | None] = field(default_factory=list)
    partial: set[int] = field(default_factory=set)

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

    @cached_property
    def returned(self) -> list[int]:
        """Values that `@main` returns and that replace no argument."""
        graph = self.graph
        return [v for at, v in enumerate(graph.results) if v is not None and at not in graph.updates]


def find_sites(graph: Graph, mesh: Mesh, given: Mapping[int, tuple[Sharding, ...]]) -> Sites:
    """List the decisions.

    Args:
        given: for some values the shardings that they may have.
    """
    found = Sites(graph, mesh, list(graph.values))
    users = _users(graph)
    for value in graph.arguments:
        _store(found, value, given.get(value) or placements(graph.values[value].shape, mesh), None)
    for node in graph.nodes:
        changed = _with_sums(found, node)
        _add_op(found, changed, node.index)
        for value in node.results:
            if value in given or (value in found.partial and users[value] > 1):
                _keep(found, value, node.index, given.get(value))
    for argument, result in graph.ties:
        source, number = found.home[result]
        found.links.append(Link(source, found.home[argument][0], result, number, -1))
    return found


def _users(graph: Graph) -> list[int]:
    """How many ops and results use each value."""
    count = [0] * len(graph.values)
    for node in graph.nodes:
        for value in {value for value in node.operands if value is not None}:
            count[value] += 1
    for returned in graph.results:
        if returned is not None:
            count[returned] += 1
    return count


def _may_be_partial(rule: OpShardingRule, number: int) -> bool:
    return any(number < len(factor.combiners) and factor.combiners[number] for factor in rule.factors)


def _store(found: Sites, value: int, shardings: tuple[Sharding, ...], parent: int | None) -> int:
    found.home[value] = (len(found.sites), -1)
    found.sites.append(StoredSite(value, shardings))
    found.parent.append(parent)
    return len(found.sites) - 1


def _keep(found: Sites, value: int, node: int, given: tuple[Sharding, ...] | None) -> None:
    """Let what is kept of a result be a decision of its own."""
    source, number = found.home[value]
    site = found.sites[source]
    assert isinstance(site, OpSite)
    rule, through = site.node.rule, site.node.through
    options = given or kept_of(rule, through, found.mesh, number, found.values[value].shape)
    kept = _store(found, value, options, node)
    found.links.append(Link(source, kept, value, number, -1))


def _add_op(found: Sites, node: Node, parent: int) -> None:
    site = len(found.sites)
    if not any(node.operands[position] in found.partial for position in node.through):
        node = replace(node, through=())  # nothing partial comes in
    found.partial |= {
        value for number, value in enumerate(node.results) if node.through or _may_be_partial(node.rule, number)
    }
    found.sites.append(OpSite(node, found.mesh))
    found.parent.append(parent)
    seen = set()
    for position, operand in enumerate(node.operands):
        if operand is None:
            continue
        needed = (operand, node.rule.operands[position], position in node.through)
        if needed not in seen:
            seen.add(needed)
            source, number = found.home[operand]
            found.links.append(Link(source, site, operand, number, position))
    for number, value in enumerate(node.results):
        found.home[value] = (site, number)


def _with_sums(found: Sites, node: Node) -> Node:
    """Make a site of each sum that the node uses, so that its summands can be reduced together."""
    operands = list(node.operands)
    for members in node.sums:
        summands = [operands[position] for position in members]
        first = summands[0]
        if any(value is None for value in summands) or first is None:
            continue
        described = found.values[first]
        total = len(found.values)
        found.values.append(replace(described, id=total, name=f"sum in {node.location}", producer=node.index))
        rule = _elementwise(described.shape, len(members))
        through = tuple(range(len(members)))
        _add_op(found, Node(node.index, SUM, rule, tuple(summands), (total,), node.location, 0.0, through), node.index)
        operands[members[0]] = total
        for position in members[1:]:
            operands[position] = None
    return replace(node, operands=tuple(operands))


def _elementwise(shape: tuple[int, ...], operands: int) -> OpShardingRule:
    factors = tuple(Factor(size, FactorKind.PARALLEL) for size in shape)
    dims = tuple((number,) if size != 1 else () for number, size in enumerate(shape))
    return OpShardingRule(factors, (dims,) * operands, (dims,))


def is_free(site: OpSite) -> bool:
    """Whether the op is no kernel: a reshape, or a sum that its user takes."""
    return site.node.op in VIEWS or site.node.op == SUM


def bytes_of(value: Value) -> int:
    """Bytes of one element of a value."""
    return ELEMENT_BYTES.get(value.element, 4)


def lifetimes(graph: Graph) -> dict[int, tuple[int, int]]:
    """For each value that an op makes the half-open interval of node numbers in which its bytes are held.

    A reshape holds none of its own: its operand lives as long as it does. A result that replaces an argument is written
    into the argument's bytes.
    """
    root: dict[int, int] = {}
    last: dict[int, int] = {}
    for node in graph.nodes:
        if node.op in VIEWS and node.operands[0] is not None:
            root[node.results[0]] = root.get(node.operands[0], node.operands[0])
        for value in node.operands:
            if value is not None:
                last[root.get(value, value)] = node.index
    end = len(graph.nodes)
    kept = {root.get(v, v) for at, v in enumerate(graph.results) if v is not None and at not in graph.updates}
    inplace = {v for at, v in enumerate(graph.results) if v is not None and at in graph.updates}
    return {
        value: (node.index, end if value in kept else last.get(value, node.index) + 1)
        for node in graph.nodes
        for value in node.results
        if value not in root and value not in inplace
    }
