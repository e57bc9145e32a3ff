"""The problem in numbers: the time of every state and of every pair of states, and the memory that states hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from jogak.autoshard.holds import Holds, Lives, find_holds
from jogak.autoshard.sites import OpSite, Sites, bytes_of, is_free, local_bytes
from jogak.autoshard.transitions import Transitions
from jogak.cost.clock import INTERFERENCE, step_seconds
from jogak.cost.machine import computing_element
from jogak.cost.model import CostModel
from jogak.sharding.assignment import exchange_seconds, local_share
from jogak.sharding.graph import Node
from jogak.sharding.rule import FactorKind
from jogak.sharding.strategy import Strategy

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Weights:
    """What a second of kernels, and one of collectives that can run beside them, counts; one of others counts 1.

    A step takes `exposed + (1 - k) max(compute, hideable) + k (compute + hideable)` seconds, with `k` the interference
    of both. For each share, `share * compute + (1 - share) * hideable` in place of the maximum is at most that much
    for every plan, and it is a sum over decisions: what is cheapest in it bounds every plan (Lagrange).
    """

    compute: float = 1.0
    hideable: float = 1.0

    @staticmethod
    def of(share: float) -> Weights:
        """Those that count the maximum as `share` of the kernels and the rest of the collectives."""
        return Weights(INTERFERENCE + (1 - INTERFERENCE) * share, 1 - (1 - INTERFERENCE) * share)


@dataclass(frozen=True)
class Price:
    """What a plan takes, in seconds.

    Attributes:
        compute: kernels.
        exposed: collectives that something waits for at once.
        hideable: collectives that can run beside kernels.
        overlap: whether they do.
    """

    compute: float
    exposed: float
    hideable: float
    overlap: bool

    @property
    def step(self) -> float:
        """Seconds of a step."""
        if self.overlap:
            return step_seconds(self.compute, self.exposed, self.hideable)
        return self.compute + self.exposed + self.hideable

    def weighted(self, weights: Weights) -> float:
        """Seconds of a step when kernels and collectives count so much."""
        return weights.compute * self.compute + self.exposed + weights.hideable * self.hideable


@dataclass(frozen=True)
class Pair:
    """Seconds of collectives between two decisions, for each pair of states."""

    exposed: Floats
    hideable: Floats

    def weighted(self, weights: Weights) -> Floats:
        found: Floats = self.exposed + weights.hideable * self.hideable
        return found


@dataclass
class Model:
    """Decisions with their prices in seconds; a decision is a site with all that it stands for.

    Attributes:
        sites: what is decided.
        compute: for each decision the seconds of each state in kernels, all that it stands for together.
        exposed: the same for collectives that no edge has.
        hideable: the same for those that can run beside kernels.
        edges: (decision, decision) to seconds of collectives for each pair of states, all links together: those that
            something waits for at once, and those that can run beside kernels.
        overlap: whether they do.
        holds: memory over time.
    """

    sites: Sites
    compute: list[Floats]
    exposed: list[Floats]
    hideable: list[Floats]
    overlap: bool
    edges: dict[tuple[int, int], Pair] = field(default_factory=dict)
    holds: Holds = field(default_factory=Holds)

    def unary(self, decision: int, weights: Weights) -> Floats:
        """Weighted seconds of each state."""
        rows = self.compute[decision], self.exposed[decision], self.hideable[decision]
        found: Floats = weights.compute * rows[0] + rows[1] + weights.hideable * rows[2]
        return found

    def tables(self, weights: Weights) -> Iterator[Floats]:
        """Weighted seconds of each pair of states of each edge."""
        return (pair.weighted(weights) for pair in self.edges.values())

    def add_edge(self, source: int, target: int, table: Floats, *, hideable: bool = False) -> None:
        """Add seconds of collectives for each pair of states of two decisions, which may be the same one."""
        if source == target:
            rows = self.hideable if hideable else self.exposed
            rows[source] = rows[source] + np.diagonal(table)
            return
        ends = (source, target) if (target, source) not in self.edges else (target, source)
        table = table if ends[0] == source else table.T
        nothing = np.zeros_like(table)
        before = self.edges.get(ends, Pair(nothing, nothing))
        if hideable:
            self.edges[ends] = Pair(before.exposed, before.hideable + table)
        else:
            self.edges[ends] = Pair(before.exposed + table, before.hideable)

    def price(self, choice: Sequence[int]) -> Price:
        """Seconds of a choice, by what it consists of."""
        compute, exposed, hideable = (
            float(sum(row[s] for row, s in zip(rows, choice, strict=True)))
            for rows in (self.compute, self.exposed, self.hideable)
        )
        for (a, b), pair in self.edges.items():
            exposed += float(pair.exposed[choice[a], choice[b]])
            hideable += float(pair.hideable[choice[a], choice[b]])
        return Price(compute, exposed, hideable, self.overlap)


def build_model(sites: Sites, cost: CostModel, lives: Lives, *, split_heavy: bool = False) -> Model:
    """Price everything.

    Args:
        lives: when values are held.
        split_heavy: contractions and convolutions must be split by every axis, where one can: Alpa's assumption.
    """
    transitions = Transitions(sites.mesh, cost)
    waiting = Transitions(sites.mesh, cost, bucketed=True)
    compute, exposed, hideable = ([np.zeros(len(each)) for each in sites.sites] for _ in range(3))
    made = Model(sites, compute, exposed, hideable, cost.machine.overlap)
    for number, (site, alike) in enumerate(zip(sites.sites, sites.alike, strict=True)):
        if isinstance(site, OpSite):
            made.compute[number] += alike * kernel_seconds(site, sites, cost)
            made.exposed[number] += alike * _halo_seconds(site, sites, cost)
            if split_heavy:
                made.compute[number] += _refuse_idle(site, sites)
    _add_links(made, transitions, waiting)
    _add_returns(made, transitions)
    made.holds = find_holds(sites, lives)
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
            known[priced] = cost.kernel(element, node.flops * priced[0], priced[1], node.arithmetic)
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


def _refuse_idle(site: OpSite, sites: Sites) -> Floats:
    """Infinite for strategies of a contraction that leave devices with the same work, where others do not."""
    if not is_contraction(site, sites):
        return np.zeros(len(site))
    parts = np.array([each.parts(sites.mesh) for each in site.strategies])
    return np.where(parts < parts.max(), np.inf, 0.0)


def is_contraction(site: OpSite, sites: Sites) -> bool:
    """Whether an op reduces a product of tensors that is larger than any of them: a matmul, a convolution.

    What reduces one tensor with positions (a reversal) is none.
    """
    node = site.node
    inputs = [value for value in node.operands[: len(node.operands) - len(node.results)] if value is not None]
    if len(inputs) < 2 or not any(factor.kind is FactorKind.REDUCTION for factor in node.rule.factors):
        return False
    largest = max(prod(sites.values[v].shape) for v in (*node.operands, *node.results) if v is not None)
    return prod(factor.size for factor in node.rule.factors) > largest


def _add_links(made: Model, transitions: Transitions, waiting: Transitions) -> None:
    sites = made.sites
    tables: dict[object, Floats] = {}
    for link in sites.links:
        source, target = link.source, link.target
        outgoing, incoming = sites.placements_of(link)
        value = sites.values[link.value]
        key = (value.shape, bytes_of(value), id(outgoing), id(incoming), link.waits)  # equal sites share a tuple
        if key not in tables:
            tables[key] = (waiting if link.waits else transitions).table(
                value.shape, bytes_of(value), outgoing, incoming
            )
        table = link.alike * tables[key]
        made.add_edge(source, target, table, hideable=link.hideable)


def _add_returns(made: Model, transitions: Transitions) -> None:
    """What `@main` returns is complete."""
    for value in made.sites.returned:
        number, result = made.sites.home(value)
        described = made.sites.values[value]
        placed = made.sites.outgoing(number, result)
        complete = [each.complete() for each in placed]
        table = transitions.table(described.shape, bytes_of(described), placed, complete)
        made.exposed[number] = made.exposed[number] + np.diagonal(table)
