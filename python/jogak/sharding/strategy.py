"""How one op is done on the mesh: which axes split which factor, and on which it works on partial sums.

Written like a sharding, with one entry for each factor: `[data, _, model] partial(expert: sum)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jogak.errors import JogakError
from jogak.sharding.mesh import Mesh
from jogak.sharding.projection import Assignment, Axes
from jogak.sharding.rule import OpShardingRule
from jogak.sharding.sharding import Combiner, Sharding


@dataclass(frozen=True)
class Strategy:
    """One way to do an op on the mesh.

    Attributes:
        factors: for each factor of the op's rule the axes that split it, major to minor.
        partial: axes on which the op works on summands: its linear operands are partial sums there, its result too.
    """

    factors: tuple[Axes, ...]
    partial: Axes = ()

    @property
    def assignment(self) -> Assignment:
        """The factors that are split."""
        return {number: axes for number, axes in enumerate(self.factors) if axes}

    @property
    def axes(self) -> frozenset[str]:
        """The axes that share the work: those that split a factor."""
        return frozenset(axis for axes in self.factors for axis in axes)

    def parts(self, mesh: Mesh) -> int:
        """Into how many parts the work is divided."""
        return mesh.size(self.axes)

    def operand(self, rule: OpShardingRule, position: int, through: Sequence[int]) -> Sharding:
        """How the op needs an operand to lie."""
        placed = rule.placement(rule.operands[position], self.assignment)
        return self._summand(placed) if self.partial and position in through else placed

    def result(self, rule: OpShardingRule, number: int) -> Sharding:
        """How the op leaves a result."""
        placed = rule.result_placement(number, self.assignment)
        return self._summand(placed) if self.partial else placed

    def _summand(self, placed: Sharding) -> Sharding:
        return placed.with_partial(dict(placed.partial) | dict.fromkeys(self.partial, Combiner.ADD))

    def __str__(self) -> str:
        return str(self._as_sharding())

    def told(self, mesh: Mesh) -> str:
        """The same by the axes that the user named."""
        return str(self._as_sharding().told(mesh))

    def _as_sharding(self) -> Sharding:
        return Sharding(self.factors, tuple((axis, Combiner.ADD) for axis in sorted(self.partial)))

    @staticmethod
    def parse(text: str, rule: OpShardingRule, mesh: Mesh) -> Strategy:
        """Read what `str()` writes.

        Raises:
            JogakError: the text is no strategy, or does not fit the op or the mesh.
        """
        read = Sharding.parse(text).on(mesh)
        read.check(mesh)
        if read.rank != len(rule.factors):
            raise JogakError(f"{text} has {read.rank} entries where the op has {len(rule.factors)} factors")
        return Strategy(read.dims, tuple(axis for axis, _ in read.partial))
