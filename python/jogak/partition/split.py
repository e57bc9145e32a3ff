"""How one op is split: its rule and the axes of each factor."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch_mlir import ir

from jogak.partition.emit import Emitter
from jogak.sharding.padding import local_size, splits_evenly
from jogak.sharding.projection import Assignment
from jogak.sharding.rule import OpShardingRule


@dataclass(frozen=True)
class Split:
    """How one op is split.

    Attributes:
        rule: its rule (whole sizes).
        assignment: factor to axes.
        emitter: where offsets and positions come from.
    """

    rule: OpShardingRule
    assignment: Assignment
    emitter: Emitter

    def part(self, factor: int) -> int:
        """Iterations of a factor on one device."""
        return local_size(self.rule.factors[factor].size, self.emitter.mesh.size(self.assignment.get(factor, ())))

    def is_padded(self, factor: int) -> bool:
        """Whether the last devices have iterations that are none of the program's."""
        axes = self.assignment.get(factor, ())
        return not splits_evenly(self.rule.factors[factor].size, axes, self.emitter.mesh)

    @cached_property
    def padded(self) -> tuple[int, ...]:
        """The factors of which the last devices have iterations that are none of the program's."""
        return tuple(filter(self.is_padded, range(len(self.rule.factors))))

    def bound(self, factor: int) -> ir.Value:
        """How many of this device's iterations of a split factor are the program's; it may be more than it has."""
        return self.emitter.bound(self.assignment[factor], self.part(factor), self.rule.factors[factor].size)

    def offset(self, factor: int) -> ir.Value:
        """Where this device's iterations of a split factor begin."""
        return self.emitter.offset(self.assignment[factor], self.part(factor))
