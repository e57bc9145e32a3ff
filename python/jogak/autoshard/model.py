"""The problem in numbers: the time of every state and of every pair of states, and the memory that states hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from jogak.autoshard.holds import Holds, Lives, find_holds
from jogak.autoshard.sites import OpSite, Sites, bytes_of, is_free, local_bytes
from jogak.autoshard.transitions import Transitions
from jogak.cost.machine import computing_element
from jogak.cost.model import CostModel
from jogak.sharding.assignment import exchange_seconds, local_share
from jogak.sharding.graph import Node
from jogak.sharding.rule import FactorKind
from jogak.sharding.strategy import Strategy

Floats = NDArray[np.float64]


@dataclass
class Model:
    """Decisions with their prices in seconds; a decision is a site with all that it stands for.

    Attributes:
        sites: what is decided.
        compute: for each decision the seconds of each state in kernels, all that it stands for together.
        communicate: the same for collectives that no edge has.
        edges: (decision, decision) to seconds for each pair of states, all links together.
        holds: memory over time.
    """

    sites: Sites
    compute: list[Floats]
    communicate: list[Floats]
    edges: dict[tuple[int, int], Floats] = field(default_factory=dict)
    holds: Holds = field(default_factory=Holds)

    def unary(self, decision: int) -> Floats:
        """Seconds of each state."""
        return self.compute[decision] + self.communicate[decision]

    def seconds(self, choice: Sequence[int]) -> tuple[float, float]:
        """Seconds of a choice, in kernels and in collectives."""
        kernels = sum(row[s] for row, s in zip(self.compute, choice, strict=True))
        moved = sum(row[s] for row, s in zip(self.communicate, choice, strict=True))
        moved += sum(table[choice[a], choice[b]] for (a, b), table in self.edges.items())
        return float(kernels), float(moved)


def build_model(sites: Sites, cost: CostModel, lives: Lives, *, split_heavy: bool = False) -> Model:
    """Price everything.

    Args:
        lives: when values are held.
        split_heavy: contractions and convolutions must be split by every axis, where one can: Alpa's assumption.
    """
    transitions = Transitions(sites.mesh, cost)
    made = Model(sites, [np.zeros(len(each)) for each in sites.sites], [np.zeros(len(each)) for each in sites.sites])
    for number, (site, alike) in enumerate(zip(sites.sites, sites.alike, strict=True)):
        if isinstance(site, OpSite):
            made.compute[number] += alike * kernel_seconds(site, sites, cost)
            made.communicate[number] += alike * _halo_seconds(site, sites, cost)
            if split_heavy:
                made.compute[number] += _refuse_idle(site, sites)
    _add_links(made, transitions)
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
    """Whether an op reduces, and iterates over more than any of its tensors holds: a matmul, a convolution."""
    node = site.node
    if not any(factor.kind is FactorKind.REDUCTION for factor in node.rule.factors):
        return False
    largest = max(prod(sites.values[v].shape) for v in (*node.operands, *node.results) if v is not None)
    return prod(factor.size for factor in node.rule.factors) > largest


def _add_links(made: Model, transitions: Transitions) -> None:
    sites = made.sites
    tables: dict[object, Floats] = {}
    for link in sites.links:
        source, target = link.source, link.target
        outgoing, incoming = sites.placements_of(link)
        value = sites.values[link.value]
        key = (value.shape, bytes_of(value), id(outgoing), id(incoming))  # equal sites share one tuple
        if key not in tables:
            tables[key] = transitions.table(value.shape, bytes_of(value), outgoing, incoming)
        table = link.alike * tables[key]
        if source == target:
            made.communicate[source] = made.communicate[source] + np.diagonal(table)
        elif (target, source) in made.edges:
            made.edges[target, source] = made.edges[target, source] + table.T
        else:
            made.edges[source, target] = made.edges.get((source, target), 0.0) + table


def _add_returns(made: Model, transitions: Transitions) -> None:
    """What `@main` returns is complete."""
    for value in made.sites.returned:
        number, result = made.sites.home(value)
        described = made.sites.values[value]
        placed = made.sites.outgoing(number, result)
        complete = [each.complete() for each in placed]
        table = transitions.table(described.shape, bytes_of(described), placed, complete)
        made.communicate[number] = made.communicate[number] + np.diagonal(table)
