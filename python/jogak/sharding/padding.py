"""Sizes that the mesh does not divide: how many elements each device holds, and when pieces can be cut again.

A dimension of `n` elements on `p` devices lies in pieces of `ceil(n / p)`; what lies behind element `n` in the last
pieces is padding, whose content means nothing. Everything that asks whether a size can be split asks here.
"""

from __future__ import annotations

from collections.abc import Iterable

from jogak.sharding.mesh import Mesh


def local_size(size: int, parts: int) -> int:
    """Elements on each device, padding included."""
    return -(-size // parts)


def splits(size: int, axes: Iterable[str], mesh: Mesh) -> bool:
    """Whether a dimension can be split by these axes: each piece gets an element, so less than half is padding."""
    parts = mesh.size(axes)
    return parts == 1 or size >= parts


def splits_evenly(size: int, axes: Iterable[str], mesh: Mesh) -> bool:
    """Whether a dimension can be split by these axes without padding."""
    return size % mesh.size(axes) == 0


def nests(size: int, outer: int, inner: int) -> bool:
    """Whether cutting each of `outer` pieces into `inner` gives the pieces of a dimension cut `outer * inner` ways.

    So it is with a whole dimension (which is padded first), and where nothing more has to be padded.
    """
    return outer == 1 or local_size(size, outer) % inner == 0
