"""What the batch of a program is, and into how many micro-batches it can be cut: plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from jogak.errors import JogakError
from jogak.sharding.constraints import Seed
from jogak.sharding.mesh import Mesh
from jogak.sharding.selection import Argument
from jogak.sharding.sharding import DimSpec

TURN = "micro"
"""Name of the axis of time along which micro-batches lie."""


def batch_size(arguments: Sequence[Argument]) -> int | None:
    """The first dimension that most inputs have; None without an input that has dimensions.

    It decides only along which dimension the program is cut: whatever is cut, the result stays the same.
    """
    sizes = Counter(each.shape[0] for each in arguments if each.role == "input" and each.shape)
    return sizes.most_common(1)[0][0] if sizes else None


def counts(batch: int) -> list[int]:
    """Into how many micro-batches of equal size a batch can be cut, ascending."""
    return [count for count in range(1, batch + 1) if batch % count == 0]


def seeds(arguments: Sequence[Argument], count: int) -> list[Seed]:
    """How each argument lies along the axis of time: inputs are cut by their batch, all others are whole.

    Raises:
        JogakError: there is no batch, or `count` does not divide it.
    """
    size = batch_size(arguments)
    if size is None:
        raise JogakError("there is no input with a batch to cut", hint="leave out --micro-batches")
    if count < 1 or size % count:
        raise JogakError(
            f"{count} micro-batches do not divide the batch of {size}",
            hint=f"take one of {', '.join(map(str, counts(size)))}",
        )
    return [
        Seed(number, tuple(_cut(each, dim, size) for dim in range(len(each.shape))), 0, "micro-batches")
        for number, each in enumerate(arguments)
    ]


def _cut(argument: Argument, dim: int, size: int) -> DimSpec:
    cut = dim == 0 and argument.role == "input" and argument.shape[0] == size
    return DimSpec((TURN,) if cut else (), open=False)


def axis_of(count: int) -> Mesh:
    """The axis of time as a mesh."""
    return Mesh((TURN,), (count,))
