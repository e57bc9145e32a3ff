"""What each device reads of an operand: which value, how it has to lie, and through which windows.

A pad in front of an op is read through: the op's window on the padded value is a window on the value itself, and the
border is written where the window reaches behind its ends. So a convolution needs one exchange, not one for its padding
and one for its window. And of all the windows on one value along one dimension it is known from the start what margins
they need, so that one exchange with the widest serves all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from torch_mlir import ir

from jogak.ir.structured import shape_of
from jogak.sharding.mesh import Mesh
from jogak.sharding.padding import splits
from jogak.sharding.rules.tensor import DYNAMIC, pad_value, static_list
from jogak.sharding.sharding import Sharding
from jogak.sharding.windows import Window, exchange

Axes = tuple[str, ...]
Place = tuple[ir.Value, Sharding, int, Axes]
"""A value, how it lies, and a dimension of it with the axes whose devices exchange margins."""


@dataclass(frozen=True)
class Pad:
    """A pad of the whole program.

    Attributes:
        op: the op.
        source: what it pads.
        shape: of the source.
        low, high: static widths of the border.
    """

    op: ir.Operation
    source: ir.Value
    shape: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]

    @staticmethod
    def of(op: ir.Operation) -> Pad | None:
        """Read a `tensor.pad` that writes one value; None for another op."""
        if op.name != "tensor.pad" or pad_value(op) is None:
            return None
        low, high = static_list(op, "static_low"), static_list(op, "static_high")
        if DYNAMIC in (*low, *high):
            return None
        return Pad(op, op.operands[0], shape_of(op.operands[0]), tuple(low), tuple(high))


@dataclass(frozen=True)
class Read:
    """What an op reads of one operand.

    Attributes:
        value: the value of the whole program that is read.
        sharding: how its pieces have to lie.
        windows: for each dimension that is read with an offset its window and the axes that split it.
        pad: the pad that is read through.
        padded: the windows as the op has them, on the padded value.
    """

    value: ir.Value
    sharding: Sharding
    windows: tuple[tuple[Axes, Window], ...] = ()
    pad: Pad | None = None
    padded: tuple[tuple[Axes, Window], ...] = ()


def through_pad(read: Read, pad: Pad, mesh: Mesh) -> Read:
    """The same read of what a pad pads; `read` itself where that is not possible, or saves no exchange."""
    by_dim = {window.dim: axes for axes, window in read.windows}
    touched = [dim for dim in range(len(pad.shape)) if pad.low[dim] or pad.high[dim]]
    split = [dim for dim in touched if read.sharding.dims[dim]]
    if not split or read.sharding.is_partial or any(window.whole for _, window in read.windows):
        return read
    if any(dim not in by_dim or not splits(pad.shape[dim], by_dim[dim], mesh) for dim in split):
        return read
    windows = tuple(
        (axes, replace(window, extent=pad.shape[window.dim], offset=window.offset - pad.low[window.dim]))
        for axes, window in read.windows
    )
    if any(exchange(window, mesh.size(axes)) is None for axes, window in windows):
        return read
    return Read(pad.source, read.sharding, windows, pad, read.windows)


def margins_of(reads: Iterable[Read], mesh: Mesh) -> Mapping[Place, tuple[int, int]]:
    """For each value that is exchanged along a dimension the widest margins that are read."""
    found: dict[Place, tuple[int, int]] = {}
    for read in reads:
        for axes, window in read.windows:
            made = exchange(window, mesh.size(axes))
            if made is not None and (made.low or made.high):
                place = (read.value, read.sharding, window.dim, axes)
                low, high = found.get(place, (0, 0))
                found[place] = max(low, made.low), max(high, made.high)
    return found
