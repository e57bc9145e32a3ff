"""Between shardings of tensors and axes of factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jogak.sharding.mesh import Mesh
from jogak.sharding.rule import Dims, Factor

Axes = tuple[str, ...]
Assignment = Mapping[int, Axes]
"""Factor number to the mesh axes that split it, major to minor; a factor without axes is absent."""


def project(dims: Dims, split: Sequence[Axes], factors: Sequence[Factor], mesh: Mesh) -> dict[int, Axes]:
    """Which axes a tensor's split puts on each factor. Axes that no whole factor can take are left out.

    A dimension of several factors is split from its major factor on, evenly; a minor factor gets axes only when the
    ones before it are split completely.
    """
    found: dict[int, Axes] = {}
    for members, axes in zip(dims, split, strict=True):
        if axes:
            found |= project_dim(members, axes, factors, mesh)[0]
    return found


def project_dim(
    members: Sequence[int], axes: Axes, factors: Sequence[Factor], mesh: Mesh
) -> tuple[dict[int, Axes], Axes]:
    """Which axes the split of one dimension puts on each of its factors, and the axes that are left out."""
    found: dict[int, Axes] = {}
    rest = axes
    several = _are_several(members, factors)
    for factor in members:
        taken = _most(factors[factor], rest, several, mesh)
        if taken:
            found[factor] = taken
        rest = rest[len(taken) :]
        if mesh.size(taken) != factors[factor].size:
            break
    return found, rest


def _most(factor: Factor, axes: Axes, several: bool, mesh: Mesh) -> Axes:
    """As many of the axes, from the major one on, as can split a factor."""
    taken = len(axes)
    while taken and not _can_take(factor, axes[:taken], several, mesh):
        taken -= 1
    return axes[:taken]


def _are_several(members: Sequence[int], factors: Sequence[Factor]) -> bool:
    return sum(factors[member].size != 1 for member in members) > 1


def _can_take(factor: Factor, axes: Axes, several: bool, mesh: Mesh) -> bool:
    """Whether axes can split a factor: padding inside of a dimension of several factors would lie in its middle."""
    return factor.splits(axes, mesh) and not (several and factor.size % mesh.size(axes))


def dim_axes(members: Sequence[int], assignment: Assignment, factors: Sequence[Factor], mesh: Mesh) -> Axes:
    """The axes of a dimension made of `members`, as far as they are one contiguous split."""
    axes: list[str] = []
    several = _are_several(members, factors)
    for factor in members:
        wanted = assignment.get(factor, ())
        taken = _most(factors[factor], wanted, several, mesh)
        axes += taken
        if taken != wanted or mesh.size(taken) != factors[factor].size:
            break
    return tuple(axes)


def is_expressible(dims: Dims, assignment: Assignment, factors: Sequence[Factor], mesh: Mesh) -> bool:
    """Whether every split factor of the tensor shows in the split of its dimension."""
    for members in dims:
        wanted = sum(len(assignment.get(factor, ())) for factor in members)
        if len(dim_axes(members, assignment, factors, mesh)) != wanted:
            return False
    return True
