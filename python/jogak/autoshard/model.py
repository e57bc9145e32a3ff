"""The problem in numbers: the time of every state and of every pair of states, and the memory that states hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from jogak.autoshard.sites import OpSite, Site, Sites, StoredSite, bytes_of, is_free, lifetimes
from jogak.autoshard.transitions import Transitions
from jogak.cost.machine import computing_element
from jogak.cost.model import CostModel
from jogak.sharding.assignment import exchange_seconds, local_share
from jogak.sharding.graph import Node, Value
from jogak.sharding.mesh import Mesh
from jogak.sharding.rule import FactorKind
from jogak.sharding.sharding import Sharding
from jogak.sharding.strategy import Strategy

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Hold:
    """Memory of a decision: for each state the bytes on a device, during node numbers `lower` to `upper`.

    Attributes:
        value: what is held.
        gathered: whether it is an argument as an op needs it, beside how it is stored. Where both lie alike there is
            no such copy; counting it all the same keeps a sum of single decisions, and plans on the safe side.
    """

    decision: int
    lower: int
    upper: int
    bytes: Floats
    value: int
    gathered: bool = False


@dataclass
class Model:
    """Decisions with their prices in seconds.

    Attributes:
        sites: what is decided.
        decision: for each site the number of its decision.
        members: for each decision its sites.
        compute: for each decision the seconds of each state in kernels, all members together.
        communicate: the same for collectives that no edge has.
        edges: (decision, decision) to seconds for each pair of states, all links together.
        holds: memory over time.
        argument_bytes: for each argument the bytes of each state.
    """

    sites: Sites
    decision: list[int]
    members: list[list[int]]
    compute: list[Floats]
    communicate: list[Floats]
    edges: dict[tuple[int, int], Floats] = field(default_factory=dict)
    holds: list[Hold] = field(default_factory=list)
    argument_bytes: dict[int, Floats] = field(default_factory=dict)

    def site(self, decision: int) -> Site:
        """A site that stands for all of a decision."""
        return self.sites.sites[self.members[decision][0]]

    def unary(self, decision: int) -> Floats:
        """Seconds of each state."""
        return self.compute[decision] + self.communicate[decision]

    def seconds(self, choice: Sequence[int]) -> tuple[float, float]:
        """Seconds of a choice, in kernels and in collectives."""
        kernels = sum(row[s] for row, s in zip(self.compute, choice, strict=True))
        moved = sum(row[s] for row, s in zip(self.communicate, choice, strict=True))
        moved += sum(table[choice[a], choice[b]] for (a, b), table in self.edges.items())
        return float(kernels), float(moved)

    def _stored(self, value: int, choice: Sequence[int]) -> float:
        """Bytes of an argument as it is stored."""
        number = self.decision[self.sites.home[value][0]]
        return float(self.argument_bytes[value][choice[number]])

    def peak(self, choice: Sequence[int]) -> tuple[float, int]:
        """The most bytes that a choice holds at once, and the node number where."""
        change = np.zeros(len(self.sites.graph.nodes) + 2)
        for hold in self.holds:
            held = hold.bytes[choice[hold.decision]]
            if hold.gathered and held <= self._stored(hold.value, choice):
                continue
            change[hold.lower] += held
            change[hold.upper] -= held
        profile = np.cumsum(change)
        return float(profile.max()), int(profile.argmax())


def least_memory(model: Model) -> tuple[float, int]:
    """Bytes that no plan goes below, and the node number where: every decision at its smallest at that time."""
    change = np.zeros(len(model.sites.graph.nodes) + 2)
    for hold in model.holds:
        if hold.gathered:
            continue
        change[hold.lower] += hold.bytes.min()
        change[hold.upper] -= hold.bytes.min()
    profile = np.cumsum(change)
    return float(profile.max()), int(profile.argmax())


def build_model(sites: Sites, decision: Sequence[int], cost: CostModel, *, split_heavy: bool = False) -> Model:
    """Price everything.

    Args:
        decision: for each site the number of its decision, as `fold` gives it.
        split_heavy: contractions and convolutions must be split by every axis, where one can: Alpa's assumption.
    """
    count = max(decision, default=-1) + 1
    members: list[list[int]] = [[] for _ in range(count)]
    for at, number in enumerate(decision):
        members[number].append(at)
    sizes = [len(sites.sites[each[0]]) for each in members]
    transitions = Transitions(sites.mesh, cost)
    made = Model(sites, list(decision), members, [np.zeros(n) for n in sizes], [np.zeros(n) for n in sizes])
    for number, each in enumerate(members):
        site = sites.sites[each[0]]
        if isinstance(site, OpSite):
            made.compute[number] += len(each) * kernel_seconds(site, sites, cost)
            made.communicate[number] += len(each) * _halo_seconds(site, sites, cost)
            if split_heavy:
                made.compute[number] += _refuse_idle(site, sites)
    _add_links(made, transitions)
    _add_returns(made, transitions)
    made.holds = list(_holds(made))
    arguments = set(sites.graph.arguments)
    made.argument_bytes = {
        hold.value: hold.bytes for hold in made.holds if hold.value in arguments and not hold.gathered
    }
    return made


def kernel_seconds(site: OpSite, sites: Sites, cost: CostModel) -> Floats:
    """Seconds of an op's kernel by strategy."""
    if is_free(site):
        return np.zeros(len(site))
    node, mesh = site.node, sites.mesh
    inputs = [v for v in node.operands[: len(node.operands) - len(node.results)] if v is not None]
    element = computing_element(
        [sites.values[v].element for v in inputs], [sites.values[v].element for v in node.results]
    )
    found = np.zeros(len(site))
    known: dict[tuple[float, float], float] = {}
    for number, strategy in enumerate(site.strategies):
        priced = local_share(node, strategy.assignment, mesh), _touched(node, strategy, sites)
        if priced not in known:
            known[priced] = cost.kernel(element, node.flops * priced[0], priced[1])
        found[number] = known[priced]
    return found


def _halo_seconds(site: OpSite, sites: Sites, cost: CostModel) -> Floats:
    """Seconds of halo exchanges by strategy."""
    rule = site.node.rule
    if not any(factor.windows for factor in rule.factors):
        return np.zeros(len(site))
    windowed = [number for number, factor in enumerate(rule.factors) if factor.windows]
    return np.array([
        exchange_seconds(site.node, each.assignment, sites.values, sites.mesh, cost)
        if any(each.factors[number] for number in windowed) else 0.0
        for each in site.strategies
    ])  # fmt: skip


def _touched(node: Node, strategy: Strategy, sites: Sites) -> float:
    """Bytes that a device reads and writes: each operand once, and the results."""
    rule, mesh, assignment = node.rule, sites.mesh, strategy.assignment
    read = {(value, dims) for value, dims in zip(node.operands, rule.operands, strict=True) if value is not None}
    total = 0.0
    for value, dims in [*read, *zip(node.results, rule.results, strict=True)]:
        total += local_bytes(sites.values[value], rule.placement(dims, assignment), mesh)
    return total


def local_bytes(value: Value, placed: Sharding, mesh: Mesh) -> int:
    """Bytes of a value on a device, padding included."""
    return prod(placed.local_shape(value.shape, mesh)) * bytes_of(value)


def _refuse_idle(site: OpSite, sites: Sites) -> Floats:
    """Infinite for strategies of a contraction that leave devices with the same work, where others do not."""
    if not is_contraction(site, sites):
        return np.zeros(len(site))
    parts = np.array([each.parts(sites.mesh) for each in site.strategies])
    return np.where(parts < parts.max(), np.inf, 0.0)


def is_contraction(site: OpSite, sites: Sites) -> bool:
    """Whether an op reduces, and iterates over more than any of its tensors holds: a matmul, a convolution."""
    node = site.node
    if not any(factor.kind is FactorKind.REDUCTION for factor in node.rule.factors):
        return False
    largest = max(prod(sites.values[v].shape) for v in (*node.operands, *node.results) if v is not None)
    return prod(factor.size for factor in node.rule.factors) > largest


def _add_links(made: Model, transitions: Transitions) -> None:
    sites = made.sites
    groups: dict[tuple[int, int, int, int], list[int]] = {}
    for number, link in enumerate(sites.links):
        ends = (made.decision[link.source], made.decision[link.target], link.result, link.operand)
        groups.setdefault(ends, []).append(number)
    tables: dict[object, Floats] = {}
    for (source, target, _, _), links in groups.items():
        link = sites.links[links[0]]
        outgoing, incoming = sites.placements_of(link)
        value = sites.values[link.value]
        key = (value.shape, bytes_of(value), id(outgoing), id(incoming))  # equal sites share one tuple
        if key not in tables:
            tables[key] = transitions.table(value.shape, bytes_of(value), outgoing, incoming)
        table = len(links) * tables[key]
        if source == target:
            made.communicate[source] = made.communicate[source] + np.diagonal(table)
        elif (target, source) in made.edges:
            made.edges[target, source] = made.edges[target, source] + table.T
        else:
            made.edges[source, target] = made.edges.get((source, target), 0.0) + table


def _add_returns(made: Model, transitions: Transitions) -> None:
    """What `@main` returns is complete."""
    for value in made.sites.returned:
        site, result = made.sites.home[value]
        described = made.sites.values[value]
        placed = made.sites.outgoing(site, result)
        complete = [each.complete() for each in placed]
        table = transitions.table(described.shape, bytes_of(described), placed, complete)
        number = made.decision[site]
        made.communicate[number] = made.communicate[number] + np.diagonal(table)


def _holds(made: Model) -> Iterator[Hold]:
    sites = made.sites
    graph = sites.graph
    end = len(graph.nodes) + 1
    local: dict[object, Floats] = {}

    def bytes_in(value: int, placed: tuple[Sharding, ...]) -> Floats:
        described = sites.values[value]
        key = (described.shape, bytes_of(described), id(placed))
        if key not in local:
            local[key] = np.array([local_bytes(described, each, sites.mesh) for each in placed], np.float64)
        return local[key]

    for value in graph.arguments:
        site, _ = sites.home[value]
        yield Hold(made.decision[site], 0, end, bytes_in(value, sites.outgoing(site, -1)), value)
    for value, (lower, upper) in lifetimes(graph).items():
        site, result = sites.home[value]
        yield Hold(made.decision[site], lower, upper, bytes_in(value, sites.outgoing(site, result)), value)
    arguments = set(graph.arguments)
    for number, each in enumerate(sites.sites):
        if isinstance(each, StoredSite) or is_free(each):
            continue
        for position, operand in enumerate(each.node.operands):
            # A gathered argument is held while the op runs.
            if operand in arguments and operand is not None:
                at = each.node.index
                yield Hold(made.decision[number], at, at + 1, bytes_in(operand, each.operands(position)), operand, True)
