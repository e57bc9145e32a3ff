"""Propagation: from the shardings that are given to a sharding of every value, with a reason for each axis.

Works forwards and backwards over the factors of every node, in rounds: all nodes that touch a value changed in the last
round propose, then the proposals are resolved together. The outcome therefore does not depend on the order of
visiting, and the work is linear in the program, since a value changes at most once an axis. Conflicts go by priority
(given shardings of one priority reach their fixed point before the next is looked at), then by cost: the larger tensor
keeps its sharding. Pass-through ops are exhausted before contractions, as in Shardy's op-priority propagation
(openxla/shardy, docs/propagation.md). In the end, where nothing else came to decide it, an axis that a sum used up
splits the result, if an operand asked for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from jogak.sharding.claims import Claim, common, disputes, strongest, without_conflicts, without_disputed
from jogak.sharding.constraints import Seed, settle
from jogak.sharding.graph import Graph, Node
from jogak.sharding.groups import groups_of
from jogak.sharding.mesh import Mesh
from jogak.sharding.outcome import Conflict, Origin, Overruled, Propagated, Skipped, root_of
from jogak.sharding.padding import splits
from jogak.sharding.projection import Axes, dim_axes, project
from jogak.sharding.request import Barrier
from jogak.sharding.reshapes import find_lost
from jogak.sharding.rule import Factor, FactorKind, OpShardingRule
from jogak.sharding.sharding import DimSpec, Sharding


@dataclass(frozen=True)
class _Proposal:
    """A longer list of axes for one dimension of a value; the heavier proposal wins.

    Attributes:
        node: the op that proposes.
        forward: whether it is for a result, because of an operand.
    """

    value: int
    dim: int
    axes: Axes
    weight: int
    origin: Origin
    node: int
    forward: bool

    @property
    def rank(self) -> tuple[int, Axes, int]:
        return (-self.weight, self.axes, self.dim)


_Lying = tuple[int, bool, tuple[tuple[Axes, ...], ...]]
"""The kind of a node and how its tensors lie, and whether axes that a sum used up may split its result."""


@dataclass
class _State:
    """Everything that changes. The values of a group share one split, one list of what is closed, and what never is.

    Attributes:
        tensors: for each node its values: operands, then results.
        kinds: for each node a number; nodes with one number say the same wherever their tensors lie alike.
        scatters: whether axes that a sum used up may split its result.
        said: what nodes of a kind say, by how their tensors lie.
        members: for each value all values of its group, itself among them.
        sizes: for each value its shape, or the least of each dimension in its group.
        never: for each value the axes that must not split it, and where that was written.
        barriers: values through which not everything passes.
    """

    graph: Graph
    mesh: Mesh
    nodes: list[Node]
    tensors: list[tuple[int, ...]]
    touching: list[list[int]]
    split: list[list[Axes]]
    closed: list[list[bool]]
    agreed: bool = False
    scatters: bool = False
    kinds: list[int] = field(default_factory=list)
    said: dict[_Lying, list[_Said]] = field(default_factory=dict)
    members: list[tuple[int, ...]] = field(default_factory=list)
    sizes: list[tuple[int, ...]] = field(default_factory=list)
    never: list[dict[str, str]] = field(default_factory=list)
    barriers: dict[int, Barrier] = field(default_factory=dict)
    origins: dict[tuple[int, str], Origin] = field(default_factory=dict)
    skipped: dict[tuple[int, int, str], Skipped] = field(default_factory=dict)
    overruled: list[Overruled] = field(default_factory=list)


def propagate(graph: Graph, mesh: Mesh, seeds: Sequence[Seed], *, agreed: bool = False) -> Propagated:
    """Find a sharding of every value from the given ones.

    Args:
        agreed: where the tensors of an op disagree only what they have in common goes on, instead of what the larger
            tensor says: the difference between Shardy's basic and its aggressive propagation.
    """
    seeds = settle(seeds)
    state = _initial(graph, mesh, seeds)
    state.agreed = agreed
    through = {node.index for node in state.nodes if node.rule.passes_through}
    everything = {node.index for node in state.nodes}
    planted: dict[int, int] = {}
    for priority in sorted({seed.priority for seed in seeds if seed.placed}):
        changed = []
        for seed in seeds:
            if seed.priority == priority and seed.placed:
                changed.append(_plant(state, seed, planted))
        touched = _run(state, changed, through)
        _run(state, touched, everything)
    if not agreed:  # an axis that tensors have on different factors is nothing that they agree on
        state.scatters = True
        _run(state, _around_sums(state), everything)
    _complete_origins(state)
    shardings = [Sharding(tuple(split)) for split in state.split]
    skipped = sorted(state.skipped.values(), key=lambda entry: (entry.value, entry.dim, entry.axis))
    lost = list(find_lost(graph, shardings, mesh))
    return Propagated(shardings, state.origins, skipped, state.overruled, list(_conflicts(state)), lost)


def _complete_origins(state: _State) -> None:
    """Every value of a group has its axes from the one that they came to first."""
    for value, members in enumerate(state.members):
        for axis in (axis for axes in state.split[value] for axis in axes):
            if (value, axis) not in state.origins:
                source = next(each for each in members if (each, axis) in state.origins)
                state.origins[value, axis] = Origin(value=source)


def _initial(graph: Graph, mesh: Mesh, seeds: Sequence[Seed]) -> _State:
    nodes = [*graph.nodes, *_tie_nodes(graph)]
    tensors = [(*(value for value in node.operands if value is not None), *node.results) for node in nodes]
    touching: list[list[int]] = [[] for _ in graph.values]
    for number, values in enumerate(tensors):
        for value in dict.fromkeys(values):
            touching[value].append(number)
    ranks = [len(value.shape) for value in graph.values]
    state = _State(graph, mesh, nodes, tensors, touching, [[()] * r for r in ranks], [[False] * r for r in ranks])
    state.members = [(value,) for value in range(len(ranks))]
    state.sizes = [value.shape for value in graph.values]
    state.never = [{} for _ in ranks]
    for members in groups_of(graph, seeds):
        _join(state, members)
    for seed in seeds:
        state.never[seed.value] |= dict.fromkeys(seed.replicated, seed.source)
        for dim, spec in enumerate(seed.dims):
            state.closed[seed.value][dim] |= not spec.open
        if seed.barrier is not None:
            same = state.barriers.setdefault(seed.value, seed.barrier) is seed.barrier
            state.barriers[seed.value] = seed.barrier if same else Barrier.CLOSED
    kinds: dict[object, int] = {}
    state.kinds = [kinds.setdefault(_kind(state, node), node.index) for node in nodes]
    return state


def _join(state: _State, members: Sequence[int]) -> None:
    """Let the values of a group lie alike from the start."""
    first = members[0]
    touching = sorted({node for value in members for node in state.touching[value]})
    shapes = [state.graph.values[value].shape for value in members]
    for value in members:
        state.sizes[value] = tuple(map(min, zip(*shapes, strict=True)))
        state.members[value] = tuple(members)
        state.touching[value] = touching
        state.split[value], state.closed[value] = state.split[first], state.closed[first]
        state.never[value] = state.never[first]


def _tie_nodes(graph: Graph) -> list[Node]:
    """An updated argument and its result share every factor."""
    nodes: list[Node] = []
    rules: dict[tuple[int, ...], OpShardingRule] = {}
    for argument, result in graph.ties:
        shape = graph.values[argument].shape
        if shape not in rules:
            dims = tuple((number,) for number in range(len(shape)))
            rules[shape] = OpShardingRule(tuple(map(Factor, shape)), (dims,), (dims,))
        nodes.append(Node(len(graph.nodes) + len(nodes), "update", rules[shape], (argument,), (result,)))
    return nodes


def _plant(state: _State, seed: Seed, planted: dict[int, int]) -> int:
    """Give a value its own sharding; axes that it already has from an earlier priority stay.

    Args:
        planted: for each value the priority at which it, or a value of its group, was last given a sharding.
    """
    group = min(state.members[seed.value])
    equal = planted.get(group) == seed.priority
    planted[group] = seed.priority
    dims = seed.dims
    if seed.somewhere:
        dims = _anywhere(state, seed, equal)
    split, never = state.split[seed.value], state.never[seed.value]
    for dim, spec in enumerate(dims):
        taken = {axis for number, axes in enumerate(split) if number != dim for axis in axes} | never.keys()
        free = next((number for number, axis in enumerate(spec.axes) if axis in taken), len(spec.axes))
        wanted = spec.axes[:free]
        current = split[dim]
        if wanted[: len(current)] == current:
            split[dim] = wanted
            for axis in wanted[len(current) :]:
                state.origins[seed.value, axis] = Origin(seed.source)
        if split[dim][: len(spec.axes)] != spec.axes or (len(split[dim]) > len(spec.axes) and not spec.open):
            forbidden = next((never[axis] for axis in spec.axes if axis in never), "")
            other = forbidden or _who_has(state, seed.value, spec.axes, split[dim])
            contradicts = equal or bool(forbidden)
            state.overruled.append(Overruled(seed.value, dim, spec.axes, current, seed.source, other, contradicts))
    return seed.value


def _who_has(state: _State, value: int, wanted: Axes, got: Axes) -> str:
    """The constraint that gave a value the axes that another one asks for, or the dimension other axes."""
    has = {axis for axes in state.split[value] for axis in axes}
    for axis in [*(axis for axis in wanted if axis in has), *got]:
        for member in state.members[value]:
            source = root_of(state.origins, member, axis)
            if source:
                return source
    return ""


def _anywhere(state: _State, seed: Seed, equal: bool) -> tuple[DimSpec, ...]:
    """Where axes go that may split any dimension: the one with the largest pieces, evenly where that is possible."""
    split = [*state.split[seed.value]]
    shape = state.graph.values[seed.value].shape
    for axis in seed.somewhere:
        if any(axis in axes for axes in split):
            continue
        parts = [state.mesh.size((*axes, axis)) for axes in split]
        dims = [dim for dim in range(len(shape)) if _is_free(state, seed.value, dim, (*split[dim], axis))]
        if dims:
            best = min((shape[dim] % parts[dim] != 0, -shape[dim] / parts[dim], dim) for dim in dims)[2]
            split[best] = (*split[best], axis)
        else:
            got = tuple(each for axes in split for each in axes)
            other = state.never[seed.value].get(axis) or _who_has(state, seed.value, (), got)
            state.overruled.append(Overruled(seed.value, None, (axis,), got, seed.source, other, equal))
    return tuple(DimSpec(axes, open=True) for axes in split)


def _is_free(state: _State, value: int, dim: int, axes: Axes) -> bool:
    if state.closed[value][dim] or any(axis in state.never[value] for axis in axes):
        return False
    return all(splits(state.graph.values[each].shape[dim], axes, state.mesh) for each in state.members[value])


def _run(state: _State, changed: Iterable[int], allowed: set[int]) -> list[int]:
    """Rounds until nothing changes; returns every value that was changed, the given ones included.

    What goes from operands to results is exhausted before anything goes back or from operand to operand: where the
    sharding of an operand and that of a later op meet, as at the scores of attention, the data that is there decides.
    """
    frontier = sorted(set(changed))
    touched = dict.fromkeys(frontier)
    postponed: set[int] = set()
    while frontier or postponed:
        nodes = {node for value in frontier for node in state.touching[value] if node in allowed}
        visit = sorted(nodes) if frontier else sorted(postponed)
        proposals = [proposal for node in visit for proposal in _propose(state, state.nodes[node])]
        if frontier:
            postponed |= {proposal.node for proposal in proposals if not proposal.forward}
            proposals = [proposal for proposal in proposals if proposal.forward]
        else:
            postponed = set()
        frontier = _commit(state, proposals)
        touched |= dict.fromkeys(frontier)
    return list(touched)


def _around_sums(state: _State) -> list[int]:
    """The values that ops sum over, as far as they are split."""
    reductions = (node for node in state.graph.nodes if not node.rule.passes_through)
    values = {value for node in reductions for value in node.operands if value is not None}
    return [value for value in values if any(state.split[value])]


def _propose(state: _State, node: Node) -> list[_Proposal]:
    """What the node's tensors say about each other."""
    values, key = state.tensors[node.index], _lying(state, node)
    said = state.said.get(key)
    if said is None:
        said = state.said[key] = _say(node, _seats(state, node), state)
    proposals: list[_Proposal] = []
    for each in said:
        value = values[each.tensor]
        if state.closed[value][each.dim]:
            continue
        axes = _as_far_as_it_splits(state, value, each.dim, each.axes)
        if len(axes) > len(state.split[value][each.dim]):
            origin = Origin(node=node.index if node.index < len(state.graph.nodes) else None, value=values[each.source])
            forward = value in node.results and values[each.source] in node.operands
            proposals.append(_Proposal(value, each.dim, axes, each.weight, origin, node.index, forward))
    return proposals


class _Seat(NamedTuple):
    """A tensor as its node sees it: how it is split, its bytes, and whether it tells the node and listens to it."""

    split: tuple[Axes, ...]
    weight: int
    tells: bool
    listens: bool


class _Said(NamedTuple):
    """That a dimension of a tensor could be split by more axes; tensors are counted as in `Node.tensors`."""

    tensor: int
    dim: int
    axes: Axes
    weight: int
    source: int


def _lying(state: _State, node: Node) -> _Lying:
    splits = tuple([tuple(state.split[value]) for value in state.tensors[node.index]])
    return state.kinds[node.index], state.scatters, splits


def _seats(state: _State, node: Node) -> list[_Seat]:
    return [
        _Seat(
            tuple(state.split[value]),
            state.graph.values[value].bytes,
            _tells(state, node, value),
            _listens(state, node, value),
        )
        for value in state.tensors[node.index]
    ]


def _kind(state: _State, node: Node) -> object:
    """All that what a node says depends on, but for how its tensors lie."""
    present = tuple([value is None for value in node.operands])
    return id(node.rule), present, tuple([seat[1:] for seat in _seats(state, node)])


def _say(node: Node, seats: Sequence[_Seat], state: _State) -> list[_Said]:
    """What follows from how the tensors lie; the same for equal ops of repeated layers."""
    claims = _claims_of(node, seats, state.mesh)
    if not claims:
        return []
    rule, first = node.rule, len(seats) - len(node.results)
    followed = _followed(claims, state.agreed)
    found: list[_Said] = []
    for tensor, ((_, dims), seat) in enumerate(zip(node.tensors(), seats, strict=True)):
        if not seat.listens:
            continue
        chosen = followed
        if state.scatters and tensor >= first:
            chosen = _followed(_held(rule, tensor - first, claims), state.agreed)
        assignment = {factor: claim.axes for factor, claim in chosen.items()}
        for dim, members in enumerate(dims):
            current = seat.split[dim]
            axes = dim_axes(members, assignment, rule.factors, state.mesh)
            if len(axes) > len(current) and axes[: len(current)] == current:
                source = next(claim for factor, claim in chosen.items() if factor in members and claim.axes)
                weight = max(claim.weight for factor, claim in chosen.items() if factor in members)
                found.append(_Said(tensor, dim, axes, weight, source.value))
    return found


def _followed(claims: Mapping[int, list[Claim]], agreed: bool) -> dict[int, Claim]:
    """How each factor is split, of all that is said about it."""
    if agreed:
        return without_disputed({factor: common(offers) for factor, offers in claims.items()})
    return without_conflicts({factor: strongest(offers) for factor, offers in claims.items()})


def _held(rule: OpShardingRule, number: int, claims: Mapping[int, list[Claim]]) -> Mapping[int, list[Claim]]:
    """The claims without those of factors that a result is the sum over: an axis of theirs is free again in it.

    Where it splits a dimension of the result, too, the partial sums are scattered instead of completed everywhere.

    Args:
        number: which result of the op.
    """
    factors = rule.factors
    summed = [f for f in claims if number < len(factors[f].combiners) and factors[f].combiners[number] is not None]
    return {factor: claims[factor] for factor in claims if factor not in summed} if summed else claims


def _claims_of(node: Node, seats: Sequence[_Seat], mesh: Mesh) -> dict[int, list[Claim]]:
    """What each tensor says of each factor; a claim's value is the number of the tensor."""
    claims: dict[int, list[Claim]] = {}
    for tensor, ((_, dims), seat) in enumerate(zip(node.tensors(), seats, strict=True)):
        if not seat.tells or not any(seat.split):
            continue
        for factor, axes in project(dims, seat.split, node.rule.factors, mesh).items():
            if node.rule.factors[factor].kind is not FactorKind.BLOCKED:
                claims.setdefault(factor, []).append(Claim(axes, seat.weight, tensor))
    return claims


def _tells(state: _State, node: Node, value: int) -> bool:
    """Whether an op takes over how a tensor lies: not where it uses a value behind a barrier."""
    barrier = state.barriers.get(value)
    return barrier is None or value in node.results or barrier.lets_forward


def _listens(state: _State, node: Node, value: int) -> bool:
    """Whether a tensor takes over what an op says of it."""
    barrier = state.barriers.get(value)
    return barrier is None or value in node.results or barrier.lets_backward


def _as_far_as_it_splits(state: _State, value: int, dim: int, axes: Axes) -> Axes:
    elsewhere = [*state.never[value]]
    for number, split in enumerate(state.split[value]):
        if number != dim:
            elsewhere += split
    size = state.sizes[value][dim]
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
    for proposal in sorted(proposals, key=lambda p: (state.members[p.value][0], *p.rank)):
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


def _conflicts(state: _State) -> Iterator[Conflict]:
    """Where the shardings of an op's tensors, as they are in the end, cannot all be kept."""
    found: dict[_Lying, list[tuple[Claim, Claim]]] = {}
    for node in state.graph.nodes:
        key = _lying(state, node)
        if key not in found:
            found[key] = list(disputes(_claims_of(node, _seats(state, node), state.mesh)))
        values = state.tensors[node.index]
        for kept, given_up in found[key]:
            yield Conflict(node.index, (values[kept.value], kept.axes), (values[given_up.value], given_up.axes))
