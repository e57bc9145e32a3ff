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

    A dimension of several factors is split from its major factor on; a minor factor gets axes only when the ones
    before it are split completely.
    """
    found: dict[int, Axes] = {}
    for members, axes in zip(dims, split, strict=True):
        rest = list(axes)
        for factor in members:
            remaining = factors[factor].size
            taken = 0
            while taken < len(rest) and remaining % mesh.sizes[rest[taken]] == 0:
                remaining //= mesh.sizes[rest[taken]]
                taken += 1
            if taken:
                found[factor] = tuple(rest[:taken])
            rest = rest[taken:]
            if remaining > 1:
                break
    return found


def dim_axes(members: Sequence[int], assignment: Assignment, factors: Sequence[Factor], mesh: Mesh) -> Axes:
    """The axes of a dimension made of `members`, as far as they are one contiguous split."""
    axes: list[str] = []
    for factor in members:
        axes += assignment.get(factor, ())
        if mesh.size(assignment.get(factor, ())) != factors[factor].size:
            break
    return tuple(axes)


def is_expressible(dims: Dims, assignment: Assignment, factors: Sequence[Factor], mesh: Mesh) -> bool:
    """Whether every split factor of the tensor shows in the split of its dimension."""
    for members in dims:
        wanted = sum(len(assignment.get(factor, ())) for factor in members)
        if len(dim_axes(members, assignment, factors, mesh)) != wanted:
            return False
    return True
