"""Sharding rules: what may be split how, per op, as plain data.

An op's dimensions are made of *factors* (the loops of a `linalg` op; the pieces of a reshaped dimension). A dimension
of an operand or result lists its factors major to minor. Splitting a factor by a mesh axis splits every dimension that
contains it; splitting a reduction factor leaves a partial result on that axis. The idea and the word are Shardy's
(openxla/shardy, docs/sharding_representation.md); here the factors come from the indexing maps instead of a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from jogak.sharding.mesh import Mesh
from jogak.sharding.padding import splits, splits_evenly
from jogak.sharding.sharding import Combiner, Sharding
from jogak.sharding.windows import Window


class FactorKind(StrEnum):
    PARALLEL = "parallel"
    """Every device computes its own part of the result."""
    REDUCTION = "reduction"
    """Every device computes a partial result; `Factor.combiners` completes it."""
    INDEXED = "indexed"
    """Addressed by data (a gather's table rows, a scatter's target rows): sharded by offset and mask."""
    BLOCKED = "blocked"
    """Must stay whole: no rule is known for splitting it."""


@dataclass(frozen=True)
class Factor:
    """One splittable extent of an op.

    Attributes:
        size: number of iterations.
        kind: what splitting it means.
        combiners: for each result of the op how partial results combine; None for a result that contains the factor.
        even: whether it can be split into equal parts only, since the op cannot be masked where padding is.
        windows: the dimensions of operands that it reads with a margin; those dimensions name it as their only factor.
    """

    size: int
    kind: FactorKind = FactorKind.PARALLEL
    combiners: tuple[Combiner | None, ...] = ()
    even: bool = False
    windows: tuple[Window, ...] = ()

    def splits(self, axes: Sequence[str], mesh: Mesh) -> bool:
        """Whether these axes can split it."""
        fits = splits_evenly(self.size, axes, mesh) if self.even else splits(self.size, axes, mesh)
        return fits and all(window.fits(mesh.size(axes)) for window in self.windows)


Dims = tuple[tuple[int, ...], ...]
"""For each dimension of a tensor, the numbers of the factors that make it up, major to minor."""


@dataclass(frozen=True)
class OpShardingRule:
    """How the operands and results of one op share factors.

    Attributes:
        factors: all factors.
        operands: for each tensor operand its `Dims`.
        results: for each result its `Dims`.
        reason: why factors are blocked, for the coverage report; empty when nothing is.
    """

    factors: tuple[Factor, ...]
    operands: tuple[Dims, ...]
    results: tuple[Dims, ...]
    reason: str = ""

    @cached_property
    def passes_through(self) -> bool:
        """Whether every factor is parallel."""
        return all(factor.kind is FactorKind.PARALLEL for factor in self.factors)

    @staticmethod
    def blocked(operands: Sequence[Sequence[int]], results: Sequence[Sequence[int]], reason: str) -> OpShardingRule:
        """The rule of an op about which nothing is known: every dimension a blocked factor of its own."""
        factors: list[Factor] = []

        def dims(shape: Sequence[int]) -> Dims:
            start = len(factors)
            factors.extend(Factor(size, FactorKind.BLOCKED) for size in shape)
            return tuple((start + i,) for i in range(len(shape)))

        operand_dims, result_dims = tuple(map(dims, operands)), tuple(map(dims, results))
        return OpShardingRule(tuple(factors), operand_dims, result_dims, reason)

    def placement(self, dims: Dims, assignment: Mapping[int, tuple[str, ...]]) -> Sharding:
        """The sharding of a tensor with these `dims` when each factor is split by `assignment`."""
        return Sharding(tuple(tuple(axis for f in factors for axis in assignment.get(f, ())) for factors in dims))

    def result_placement(self, number: int, assignment: Mapping[int, tuple[str, ...]]) -> Sharding:
        """The sharding of a result as the local op leaves it: partial on the axes of its reduction factors."""
        partial: dict[str, Combiner] = {}
        for index, axes in assignment.items():
            factor = self.factors[index]
            combiner = factor.combiners[number] if number < len(factor.combiners) else None
            if combiner is not None:
                partial |= dict.fromkeys(axes, combiner)
        return self.placement(self.results[number], assignment).with_partial(partial)
