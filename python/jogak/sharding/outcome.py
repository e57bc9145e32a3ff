"""What propagation finds: the shardings, where every axis comes from, and what does not hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jogak.sharding.projection import Axes
from jogak.sharding.sharding import Sharding


@dataclass(frozen=True)
class Origin:
    """Why an axis splits a value.

    Attributes:
        source: the constraint that was written, when the value was given its sharding.
        node: the node that it came through, otherwise; None for an argument tied to its update, and in a group.
        value: the value of that node, or of the group, which had the axis.
    """

    source: str = ""
    node: int | None = None
    value: int | None = None


@dataclass(frozen=True)
class Skipped:
    """A dimension that propagation would have split but that has fewer elements than there would be pieces."""

    value: int
    dim: int
    axis: str


@dataclass(frozen=True)
class Overruled:
    """A constraint that does not hold, since another one had reached the value before.

    Attributes:
        dim: the dimension; None for an axis that was to split any.
        wanted: the axes that the constraint asked for.
        got: the axes that split the dimension when the constraint came.
        source: where the constraint was written.
        other: where the one was written that it gave way to; empty where the sizes left no room.
        equal: whether both have one priority, so that neither gives way: a contradiction.
    """

    value: int
    dim: int | None
    wanted: Axes
    got: Axes
    source: str
    other: str = ""
    equal: bool = False


@dataclass(frozen=True)
class Conflict:
    """An axis that two tensors of an op have on different factors, or a factor that they split differently.

    Attributes:
        node: the op.
        kept, given_up: values and axes: the tensor that was followed, and the one that has to be moved.
    """

    node: int
    kept: tuple[int, Axes]
    given_up: tuple[int, Axes]


@dataclass(frozen=True)
class Lost:
    """Axes that a reshape does not take along.

    Attributes:
        node: the reshape.
        value: its tensor that has them.
        dim: the dimension of it that they split.
        sizes: the factors that a dimension is made of, major to minor.
        at: the number of the factor in `sizes` that cannot be split by them, or not alone.
        pieces: into how many pieces that factor is split without them.
        axes: what is left out, major to minor.
    """

    node: int
    value: int
    dim: int
    sizes: tuple[int, ...]
    at: int
    pieces: int
    axes: Axes


@dataclass
class Propagated:
    """The outcome.

    Attributes:
        shardings: one for each value of the graph.
        origins: (value, axis) to the reason.
        skipped: what had to stay whole because of its size.
        overruled: constraints that do not hold.
        conflicts: ops at which shardings from different constraints meet that cannot both go on.
        lost: what reshapes do not take along.
    """

    shardings: list[Sharding]
    origins: dict[tuple[int, str], Origin]
    skipped: list[Skipped]
    overruled: list[Overruled] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)

    def root(self, value: int, axis: str) -> str:
        """The constraint that an axis of a value comes from; empty where none is known."""
        return root_of(self.origins, value, axis)


def root_of(origins: Mapping[tuple[int, str], Origin], value: int, axis: str) -> str:
    """The constraint that an axis of a value comes from, along the chain of origins; empty where none is known."""
    seen: set[int] = set()
    at: int | None = value
    while at is not None and at not in seen:
        seen.add(at)
        origin = origins.get((at, axis), Origin())
        if origin.source:
            return origin.source
        at = origin.value
    return ""
