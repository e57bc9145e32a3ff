"""Which ops can be sharded by a rule, which have dimensions that must stay whole, and which nobody knows: with their share of the arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jogak.sharding.graph import Graph, Node
from jogak.sharding.rule import FactorKind


@dataclass(frozen=True)
class Replicated:
    """Ops that lose something to a fallback.

    Attributes:
        op: op name.
        reason: what cannot be split, and why.
        location: source line of the first such op.
        count: number of such ops.
        flops: their arithmetic.
    """

    op: str
    reason: str
    location: str
    count: int
    flops: float


@dataclass(frozen=True)
class Coverage:
    """Counts and shares over the whole program.

    Attributes:
        nodes: all ops.
        by_rule: ops of which every dimension can be split.
        partly: ops with a dimension that must stay whole.
        unknown: ops without any rule.
        flops: arithmetic operations of all ops.
        fallback_flops: those of ops that cannot be split at all.
        replicated: the ops behind `partly` and `unknown`, grouped by kind and reason.
    """

    nodes: int
    by_rule: int
    partly: int
    unknown: int
    flops: float
    fallback_flops: float
    replicated: tuple[Replicated, ...]

    def to_json(self) -> dict[str, Any]:
        """The form that the manifest holds."""
        return {
            "ops": self.nodes,
            "by_rule": self.by_rule,
            "partly_replicated": self.partly,
            "unknown": self.unknown,
            "flops": self.flops,
            "fallback_flops_share": self.fallback_flops / self.flops if self.flops else 0.0,
            "replicated": [vars(entry) for entry in self.replicated],
        }


def coverage(graph: Graph) -> Coverage:
    """Sort every op by what its rule allows."""
    groups: dict[tuple[str, str], list[Node]] = {}
    for node in graph.nodes:
        if node.rule.reason:
            groups.setdefault((node.op, node.rule.reason), []).append(node)
    replicated = tuple(
        Replicated(op, reason, nodes[0].location, len(nodes), sum(node.flops for node in nodes))
        for (op, reason), nodes in groups.items()
    )
    unknown = [node for node in graph.nodes if node.rule.reason and _is_whole(node)]
    partly = sum(len(nodes) for nodes in groups.values()) - len(unknown)
    return Coverage(
        len(graph.nodes),
        len(graph.nodes) - partly - len(unknown),
        partly,
        len(unknown),
        sum(node.flops for node in graph.nodes),
        sum(node.flops for node in unknown),
        replicated,
    )


def _is_whole(node: Node) -> bool:
    return all(factor.kind is FactorKind.BLOCKED or factor.size == 1 for factor in node.rule.factors)
