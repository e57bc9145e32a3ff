"""What can be chosen: for an op how each mesh axis splits it, for a stored value how it lies."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product

from jogak.sharding.mesh import Mesh
from jogak.sharding.padding import splits
from jogak.sharding.projection import is_expressible
from jogak.sharding.rule import Dims, FactorKind, OpShardingRule
from jogak.sharding.sharding import Sharding
from jogak.sharding.strategy import Strategy


def active_axes(mesh: Mesh) -> tuple[str, ...]:
    """The axes on which something can be split."""
    return tuple(axis for axis, size in mesh.sizes.items() if size > 1)


@lru_cache(maxsize=4096)
def op_strategies(rule: OpShardingRule, through: tuple[int, ...], mesh: Mesh) -> tuple[Strategy, ...]:
    """Every way to give each axis to one factor, to a partial sum that travels through, or to nothing.

    Axes that split one factor do so in the order of the mesh.
    """
    axes = active_axes(mesh)
    splittable = [n for n, factor in enumerate(rule.factors) if factor.kind is not FactorKind.BLOCKED]
    options: list[int | None] = [*splittable, None, *([-1] if through else [])]
    found = []
    for picks in product(options, repeat=len(axes)):
        factors = tuple(
            tuple(axis for axis, pick in zip(axes, picks, strict=True) if pick == number)
            for number in range(len(rule.factors))
        )
        partial = tuple(axis for axis, pick in zip(axes, picks, strict=True) if pick == -1)
        strategy = Strategy(factors, partial)
        if _is_possible(rule, strategy, mesh):
            found.append(strategy)
    return tuple(found)


@lru_cache(maxsize=16384)
def results_of(rule: OpShardingRule, through: tuple[int, ...], mesh: Mesh, number: int) -> tuple[Sharding, ...]:
    """How each strategy of an op leaves a result. Ops alike get one tuple, by which prices are cached."""
    return tuple(each.result(rule, number) for each in op_strategies(rule, through, mesh))


@lru_cache(maxsize=16384)
def operands_of(rule: OpShardingRule, through: tuple[int, ...], mesh: Mesh, position: int) -> tuple[Sharding, ...]:
    """How each strategy of an op needs an operand."""
    return tuple(each.operand(rule, position, through) for each in op_strategies(rule, through, mesh))


@lru_cache(maxsize=16384)
def kept_of(
    rule: OpShardingRule, through: tuple[int, ...], mesh: Mesh, number: int, shape: tuple[int, ...]
) -> tuple[Sharding, ...]:
    """How a result of an op can be kept for its users: as it is made, completed, or split in any other way."""
    made = dict.fromkeys(results_of(rule, through, mesh, number))
    completed = (each for sharding in made for each in completions(sharding, shape, mesh))
    return tuple(dict.fromkeys([*completed, *placements(shape, mesh)]))


def _is_possible(rule: OpShardingRule, strategy: Strategy, mesh: Mesh) -> bool:
    assignment = strategy.assignment
    if not all(rule.factors[number].splits(axes, mesh) for number, axes in assignment.items()):
        return False
    every: tuple[Dims, ...] = (*rule.operands, *rule.results)
    return all(is_expressible(dims, assignment, rule.factors, mesh) for dims in every)


@lru_cache(maxsize=4096)
def placements(shape: tuple[int, ...], mesh: Mesh) -> tuple[Sharding, ...]:
    """Every way to split the dimensions of a stored value; the axes of one dimension in the order of the mesh."""
    return tuple(_placements(shape, mesh))


def _placements(shape: tuple[int, ...], mesh: Mesh) -> Iterator[Sharding]:
    axes = active_axes(mesh)
    for picks in product([None, *range(len(shape))], repeat=len(axes)):
        dims = tuple(
            tuple(axis for axis, pick in zip(axes, picks, strict=True) if pick == dim) for dim in range(len(shape))
        )
        if all(splits(size, split, mesh) for size, split in zip(shape, dims, strict=True)):
            yield Sharding(dims)


def completions(made: Sharding, shape: tuple[int, ...], mesh: Mesh) -> Iterator[Sharding]:
    """Where a result can be kept: as it is, or with each partial axis combined, the sum whole or split."""
    yield made
    axes = [axis for axis, _ in made.partial]
    for picks in product([None, *range(len(shape))], repeat=len(axes)):
        dims = [list(split) for split in made.dims]
        for axis, pick in zip(axes, picks, strict=True):
            if pick is not None:
                dims[pick].append(axis)
        ordered = tuple(tuple(sorted(split, key=mesh.index)) for split in dims)
        if all(splits(size, split, mesh) for size, split in zip(shape, ordered, strict=True)):
            yield Sharding(ordered)
