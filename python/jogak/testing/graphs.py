"""Hand-made graphs, for tests of everything that decides about sharding."""

from __future__ import annotations

from collections.abc import Sequence

from jogak.sharding.constraints import Seed
from jogak.sharding.graph import Graph, Node
from jogak.sharding.request import Request
from jogak.sharding.rule import OpShardingRule
from jogak.sharding.rules.einsum import einsum_rule


class GraphBuilder:
    """Builds a graph of ops whose rules are written as text."""

    def __init__(self) -> None:
        self.graph = Graph()

    def argument(self, *shape: int) -> int:
        """An argument; returns its value number."""
        value = self.graph.add_value(shape, "f32", f"arg{len(self.graph.values)}")
        self.graph.arguments = (*self.graph.arguments, value)
        return value

    def op(self, rule: str | OpShardingRule, operands: Sequence[int], *shape: int, flops: float = 0.0) -> int:
        """One op with one result; returns the result's value number."""
        index = len(self.graph.nodes)
        result = self.graph.add_value(shape, "f32", f"op{index}", index)
        shapes = [self.graph.values[value].shape for value in operands]
        made = einsum_rule(rule, shapes, [shape], where="test") if isinstance(rule, str) else rule
        self.graph.nodes.append(Node(index, "test.op", made, tuple(operands), (result,), flops=flops))
        return result

    def returns(self, *values: int, updates: dict[int, int] | None = None) -> Graph:
        """The graph, with these results; `updates` maps result positions to argument positions."""
        self.graph.results = values
        self.graph.updates = updates or {}
        return self.graph


def seed(value: int, text: str, source: str = "test") -> Seed:
    """A constraint on a value, from its text."""
    spec = Request.parse(text)
    dims = spec.dims or ()
    return Seed(
        value, dims, spec.priority, source, spec.somewhere, spec.replicated, spec.group, spec.barrier, spec.places
    )
