"""Propagation: from the shardings that are given to a sharding of every value, with a reason for each axis.

Works forwards and backwards over the factors of every node, in rounds: all nodes that touch a value changed in the last
round propose, then the proposals are resolved together. The outcome therefore does not depend on the order of
visiting, and the work is linear in the program, since a value changes at most once an axis. Conflicts go by priority
(given shardings of one priority reach their fixed point before the next is looked at), then by cost: the larger tensor
keeps its sharding. Pass-through ops are exhausted before contractions, as in Shardy's op-priority propagation
(openxla/shardy, docs/propagation.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from jogak.sharding.constraints import Seed
from jogak.sharding.graph import Graph, Node
from jogak.sharding.mesh import Mesh
from jogak.sharding.padding import splits
from jogak.sharding.projection import Axes, dim_axes, project
from jogak.sharding.rule import Factor, FactorKind, OpShardingRule
from jogak.sharding.sharding import Sharding


@dataclass(frozen=True)
class Origin:
    """Why an axis splits a value.

    Attributes:
        source: the constraint that was written, when the value was given its sharding.
        node: the node that it came through, otherwise; None for an argument tied to its update.
        value: the value of that node which had the axis.
    """

    source: str = ""
    node: int | None = None
    value: int | None = None


@dataclass(frozen=True)
class Skipped:
    """A dimension that propagation would have split but that has fewer elements than there would be pieces."""

    value: int
    dim: int
    axis: str


@dataclass(frozen=True)
class Overruled:
    """A dimension of a constraint that does not hold, since one of an earlier priority had reached the value before.

    Attributes:
        wanted: the axes that the constraint asked for.
        got: the axes that split the dimension when the constraint came.
        source: where the constraint was written.
    """

    value: int
    dim: int
    wanted: Axes
    got: Axes
    source: str


@dataclass
class Propagated:
    """The outcome.

    Attributes:
        shardings: one for each value of the graph.
        origins: (value, axis) to the reason.
        skipped: what had to stay whole because of its size.
        overruled: constraints that do not hold.
    """

    shardings: list[Sharding]
    origins: dict[tuple[int, str], Origin]
    skipped: list[Skipped]
    overruled: list[Overruled] = field(default_factory=list)


@dataclass(frozen=True)
class _Proposal:
    """A longer list of axes for one dimension of a value; the heavier proposal wins."""

    value: int
    dim: int
    axes: Axes
    weight: int
    origin: Origin

    @property
    def rank(self) -> tuple[int, Axes, int]:
        return (-self.weight, self.axes, self.dim)


@dataclass
class _State:
    graph: Graph
    mesh: Mesh
    nodes: list[Node]
    touching: list[list[int]]
    split: list[list[Axes]]
    closed: list[list[bool]]
    agreed: bool = False
    origins: dict[tuple[int, str], Origin] = field(default_factory=dict)
    skipped: dict[tuple[int, int, str], Skipped] = field(default_factory=dict)
    overruled: list[Overruled] = field(default_factory=list)


def propagate(graph: Graph, mesh: Mesh, seeds: Sequence[Seed], *, agreed: bool = False) -> Propagated:
    """Find a sharding of every value from the given ones.

    Args:
        agreed: where the tensors of an op disagree only what they have in common goes on, instead of what the larger
            tensor says: the difference between Shardy's basic and its aggressive propagation.
    """
    state = _initial(graph, mesh)
    state.agreed = agreed
    through = {node.index for node in state.nodes if _passes_through(node.rule)}
    everything = {node.index for node in state.nodes}
    for seed in seeds:
        for dim, spec in enumerate(seed.dims):
            state.closed[seed.value][dim] = not spec.open
    for priority in sorted({seed.priority for seed in seeds}):
        changed = [_plant(state, seed) for seed in seeds if seed.priority == priority]
        touched = _run(state, changed, through)
        _run(state, touched, everything)
    shardings = [Sharding(tuple(split)) for split in state.split]
    skipped = sorted(state.skipped.values(), key=lambda entry: (entry.value, entry.dim, entry.axis))
    return Propagated(shardings, state.origins, skipped, state.overruled)


def _initial(graph: Graph, mesh: Mesh) -> _State:
    nodes = [*graph.nodes, *_tie_nodes(graph)]
    touching: list[list[int]] = [[] for _ in graph.values]
    for node in nodes:
        for value in {value for value, _ in node.tensors()}:
            touching[value].append(node.index)
    ranks = [len(value.shape) for value in graph.values]
    return _State(graph, mesh, nodes, touching, [[()] * r for r in ranks], [[False] * r for r in ranks])


def _tie_nodes(graph: Graph) -> list[Node]:
    """An updated argument and its result share every factor."""
    nodes: list[Node] = []
    for argument, result in graph.ties:
        shape = graph.values[argument].shape
        dims = tuple((number,) for number in range(len(shape)))
        rule = OpShardingRule(tuple(Factor(size) for size in shape), (dims,), (dims,))
        nodes.append(Node(len(graph.nodes) + len(nodes), "update", rule, (argument,), (result,)))
    return nodes


def _passes_through(rule: OpShardingRule) -> bool:
    return all(factor.kind is FactorKind.PARALLEL for factor in rule.factors)


def _plant(state: _State, seed: Seed) -> int:
    """Give a value its own sharding; axes that it already has from an earlier priority stay."""
    split = state.split[seed.value]
    for dim, spec in enumerate(seed.dims):
        taken = {axis for number, axes in enumerate(split) if number != dim for axis in axes}
        free = next((number for number, axis in enumerate(spec.axes) if axis in taken), len(spec.axes))
        wanted = spec.axes[:free]
        current = split[dim]
        if wanted[: len(current)] == current:
            split[dim] = wanted
            state.origins |= {(seed.value, axis): Origin(seed.source) for axis in wanted}
        if split[dim][: len(spec.axes)] != spec.axes:
            state.overruled.append(Overruled(seed.value, dim, spec.axes, current, seed.source))
    return seed.value


def _run(state: _State, changed: Iterable[int], allowed: set[int]) -> list[int]:
    """Rounds until nothing changes; returns every value that was changed, the given ones included."""
    frontier = sorted(set(changed))
    touched = dict.fromkeys(frontier)
    while frontier:
        visit = sorted({node for value in frontier for node in state.touching[value] if node in allowed})
        proposals = [proposal for node in visit for proposal in _propose(state, state.nodes[node])]
        frontier = _commit(state, proposals)
        touched |= dict.fromkeys(frontier)
    return list(touched)


@dataclass(frozen=True)
class _Claim:
    """A tensor of the node that has a factor split by these axes."""

    axes: Axes
    weight: int
    value: int


def _propose(state: _State, node: Node) -> list[_Proposal]:
    """What the node's tensors say about each other."""
    claims = _claims(state, node)
    if not claims:
        return []
    if state.agreed:
        chosen = _without_disputed({factor: _common(offers) for factor, offers in claims.items()})
    else:
        chosen = _without_conflicts({factor: _strongest(offers) for factor, offers in claims.items()})
    assignment = {factor: claim.axes for factor, claim in chosen.items()}
    rule = node.rule
    proposals: list[_Proposal] = []
    for value, dims in node.tensors():
        for dim, members in enumerate(dims):
            current = state.split[value][dim]
            axes = dim_axes(members, assignment, rule.factors, state.mesh)
            if len(axes) <= len(current) or axes[: len(current)] != current or state.closed[value][dim]:
                continue
            axes = _as_far_as_it_splits(state, value, dim, axes)
            if len(axes) > len(current):
                source = next(claim for factor, claim in chosen.items() if factor in members and claim.axes)
                origin = Origin(node=node.index if node.index < len(state.graph.nodes) else None, value=source.value)
                weight = max(claim.weight for factor, claim in chosen.items() if factor in members)
                proposals.append(_Proposal(value, dim, axes, weight, origin))
    return proposals


def _claims(state: _State, node: Node) -> dict[int, list[_Claim]]:
    claims: dict[int, list[_Claim]] = {}
    for value, dims in node.tensors():
        split = state.split[value]
        if not any(split):
            continue
        weight = state.graph.values[value].bytes
        for factor, axes in project(dims, split, node.rule.factors, state.mesh).items():
            if node.rule.factors[factor].kind is not FactorKind.BLOCKED:
                claims.setdefault(factor, []).append(_Claim(axes, weight, value))
    return claims


def _strongest(offers: list[_Claim]) -> _Claim:
    """The longest list that agrees with the heaviest tensor's."""
    heaviest = min(offers, key=lambda claim: (-claim.weight, claim.axes))
    agreeing = [claim for claim in offers if claim.axes[: len(heaviest.axes)] == heaviest.axes]
    return min(agreeing, key=lambda claim: (-len(claim.axes), -claim.weight, claim.axes))


def _without_conflicts(claims: dict[int, _Claim]) -> dict[int, _Claim]:
    """An axis can split only one factor of an op: the one of the heaviest tensor keeps it."""
    owner: dict[str, int] = {}
    for factor, claim in sorted(claims.items(), key=lambda item: (-item[1].weight, item[0])):
        for axis in claim.axes:
            owner.setdefault(axis, factor)
    kept: dict[int, _Claim] = {}
    for factor, claim in claims.items():
        axes: list[str] = []
        for axis in claim.axes:
            if owner[axis] != factor:
                break
            axes.append(axis)
        kept[factor] = _Claim(tuple(axes), claim.weight, claim.value)
    return kept


def _common(offers: list[_Claim]) -> _Claim:
    """The longest list that contradicts no tensor's: each one begins with it, or is its beginning."""
    longest = min(offers, key=lambda claim: (-len(claim.axes), -claim.weight, claim.axes))
    kept = len(longest.axes)
    for claim in offers:
        both = zip(claim.axes, longest.axes, strict=False)
        same = next((at for at, (own, other) in enumerate(both) if own != other), None)
        kept = kept if same is None else min(kept, same)
    return _Claim(longest.axes[:kept], longest.weight, longest.value)


def _without_disputed(claims: dict[int, _Claim]) -> dict[int, _Claim]:
    """An axis that tensors have on several factors of an op goes to none of them."""
    factors: dict[str, set[int]] = {}
    for factor, claim in claims.items():
        for axis in claim.axes:
            factors.setdefault(axis, set()).add(factor)
    kept: dict[int, _Claim] = {}
    for factor, claim in claims.items():
        undisputed = next((at for at, axis in enumerate(claim.axes) if len(factors[axis]) > 1), len(claim.axes))
        kept[factor] = _Claim(claim.axes[:undisputed], claim.weight, claim.value)
    return kept


def _as_far_as_it_splits(state: _State, value: int, dim: int, axes: Axes) -> Axes:
    elsewhere = {axis for number, split in enumerate(state.split[value]) if number != dim for axis in split}
    size = state.graph.values[value].shape[dim]
    for number, axis in enumerate(axes):
        if axis in elsewhere:
            return axes[:number]
        if not splits(size, axes[: number + 1], state.mesh):
            state.skipped[value, dim, axis] = Skipped(value, dim, axis)
            return axes[:number]
    return axes


def _commit(state: _State, proposals: list[_Proposal]) -> list[int]:
    """Resolve the proposals of a round: the heaviest first, no axis twice in a value."""
    changed: dict[int, None] = {}
    for proposal in sorted(proposals, key=lambda p: (p.value, *p.rank)):
        split = state.split[proposal.value]
        current = split[proposal.dim]
        fits = proposal.axes[: len(current)] == current and len(proposal.axes) > len(current)
        added = proposal.axes[len(current) :]
        if not fits or any(axis in axes for axes in split for axis in added):
            continue
        split[proposal.dim] = proposal.axes
        state.origins |= {(proposal.value, axis): proposal.origin for axis in added}
        changed[proposal.value] = None
    return sorted(changed)
