"""Which ops a rule covers, which have dimensions that must stay whole, which nobody knows, and their arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
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
        share: their part of the arithmetic of the whole program.
        whole: nothing of the op can be split, so that every device computes all of it.
    """

    op: str
    reason: str
    location: str
    count: int
    share: float
    whole: bool

    def describe(self) -> str:
        """One line for people."""
        times = f"{self.count} × " if self.count > 1 else ""
        first = "first at" if self.count > 1 else "at"
        return f"{times}{self.op}, {self.share:.2%} of the arithmetic, {first} {self.location}: {self.reason}"


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
    total = sum(node.flops for node in graph.nodes)
    groups: dict[tuple[str, str, bool], list[Node]] = {}
    for node in graph.nodes:
        if node.rule.reason:
            groups.setdefault((node.op, node.rule.reason, _is_whole(node)), []).append(node)
    replicated = tuple(
        Replicated(op, reason, nodes[0].location, len(nodes), _flops(nodes) / total if total else 0.0, whole)
        for (op, reason, whole), nodes in groups.items()
    )
    unknown = [node for (_, _, whole), nodes in groups.items() if whole for node in nodes]
    partly = sum(entry.count for entry in replicated) - len(unknown)
    by_rule = len(graph.nodes) - partly - len(unknown)
    return Coverage(len(graph.nodes), by_rule, partly, len(unknown), total, _flops(unknown), replicated)


def _flops(nodes: Sequence[Node]) -> float:
    return sum(node.flops for node in nodes)


def _is_whole(node: Node) -> bool:
    return all(factor.kind is FactorKind.BLOCKED or factor.size == 1 for factor in node.rule.factors)
