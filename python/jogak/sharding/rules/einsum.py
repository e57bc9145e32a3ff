"""Sharding rules written as text: `ij, jk -> ik`."""

from __future__ import annotations

from collections.abc import Sequence

from jogak.errors import JogakError
from jogak.sharding.rule import Dims, Factor, FactorKind, OpShardingRule
from jogak.sharding.sharding import Combiner


def einsum_rule(
    text: str, operands: Sequence[Sequence[int]], results: Sequence[Sequence[int]], *, where: str
) -> OpShardingRule:
    """Read a rule: one letter a dimension, one group a tensor, `_` for a dimension that must stay whole.

    A result is summed over the operands' letters that it lacks. A letter that a tensor has twice (a diagonal) must stay
    whole.

    Raises:
        JogakError: the text does not fit the op's operands and results.
    """
    left, arrow, right = text.partition("->")
    groups = [[part.strip() for part in side.split(",")] if side.strip() else [] for side in (left, right)]
    shapes = [*operands, *results]
    names = groups[0] + groups[1]
    fits = arrow and len(groups[0]) == len(operands) and len(groups[1]) == len(results)
    if not fits or any(len(name) != len(shape) for name, shape in zip(names, shapes, strict=True)):
        ranks = ", ".join(str(len(shape)) for shape in operands) + " -> " + ", ".join(str(len(s)) for s in results)
        raise JogakError(
            f"the sharding rule {text!r} does not fit the op",
            where=where,
            hint=f"one letter for every dimension; the ranks are {ranks}",
        )
    factors: list[Factor] = []
    numbers: dict[str, int] = {}
    read = set("".join(groups[0]))
    twice = {letter for name in names for letter in name if name.count(letter) > 1}

    def factor(letter: str, size: int) -> Factor:
        if letter in twice:
            return Factor(size, FactorKind.BLOCKED)
        combiners = tuple(None if letter in name else Combiner.ADD for name in groups[1])
        summed = letter in read and Combiner.ADD in combiners
        kind = FactorKind.REDUCTION if summed else FactorKind.PARALLEL
        return Factor(size, kind, combiners if summed else (), even=True)

    def dim(letter: str, size: int) -> tuple[int, ...]:
        if size == 1:
            return ()
        if letter == "_":
            factors.append(Factor(size, FactorKind.BLOCKED))
            return (len(factors) - 1,)
        if letter not in numbers:
            numbers[letter] = len(factors)
            factors.append(factor(letter, size))
        if factors[numbers[letter]].size != size:
            raise JogakError(f"{letter!r} has sizes {factors[numbers[letter]].size} and {size}", where=where)
        return (numbers[letter],)

    dims: list[Dims] = [
        tuple(dim(letter, size) for letter, size in zip(name, shape, strict=True))
        for name, shape in zip(names, shapes, strict=True)
    ]
    return OpShardingRule(tuple(factors), tuple(dims[: len(operands)]), tuple(dims[len(operands) :]))
