"""All-gather, reduce-scatter and small all-reduces as one message between each two ranks of a group, for gloo.

What gloo has for the first two goes through a copy of the whole buffer, and waits for one neighbour after the other.
Messages between pairs lie where the data is read and wanted, move the same bytes, and are all under way at once: on two
cores they take half the processor time. An all-reduce of gloo takes many rounds also for 1 KB; what is small goes to
every other rank as it is instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .channels import Channels

_COMBINE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": torch.add, "average": torch.add, "product": torch.mul, "max": torch.maximum, "min": torch.minimum,
    "bitwise_and": torch.bitwise_and, "bitwise_or": torch.bitwise_or, "bitwise_xor": torch.bitwise_xor,
}  # fmt: skip
LARGEST = 1 << 20
"""Bytes that a rank receives at most in an all-reduce by messages; a ring moves less of what is larger."""
_ON_BITS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"sum": torch.maximum, "product": torch.minimum}
"""What a sum and a product of truth values are."""


def takes_messages(group: dist.ProcessGroup) -> bool:
    """Whether a group's own all-gather and reduce-scatter are the slower ones."""
    return dist.get_backend(group) == "gloo"


def received_whole(bytes_: int, ranks: int) -> int:
    """Bytes that a rank receives in an all-reduce by messages; none where it is too large for that."""
    received = bytes_ * (ranks - 1)
    return received if received <= LARGEST else 0


def gather(sent: Tensor, gathered: Tensor, group: dist.ProcessGroup, channels: Channels) -> list[Any]:
    """Start to send a tensor to the whole group; `gathered` has a place for each rank's. Returns what to wait for."""
    gathered[dist.get_rank(group)].copy_(sent)
    return [
        work
        for _, after, before in _pairs(group)
        for work in _pair(sent, after, gathered[before], before, group, channels)
    ]


def scatter(sent: Tensor, received: Tensor, group: dist.ProcessGroup, channels: Channels) -> list[Any]:
    """Start to send each rank its entry of `sent`.

    Args:
        received: has a place for what each other rank sends, the nearest one before first.

    Returns:
        What to wait for.
    """
    return [
        work
        for place, after, before in _pairs(group)
        for work in _pair(sent[after], after, received[place], before, group, channels)
    ]


def reduce(own: Tensor, received: Tensor, reduction: str, truth: bool) -> Tensor:
    """What a rank had and what came in, combined in new memory.

    Args:
        truth: whether these are truth values.
    """
    combine = _combiner(reduction, truth)
    total = combine(own, received[0])
    for other in received[1:]:
        combine(total, other, out=total)  # type: ignore[call-arg]
    return total


def swap(sent: Tensor, group: dist.ProcessGroup, channels: Channels) -> tuple[list[Any], list[Tensor]]:
    """Start to send a tensor to the whole group. Returns what to wait for, and what each other rank sends, by rank."""
    received = {before: torch.empty_like(sent) for _, _, before in _pairs(group)}
    works = [
        work
        for _, after, before in _pairs(group)
        for work in _pair(sent, after, received[before], before, group, channels)
    ]
    return works, [received[rank] for rank in sorted(received)]


def reduce_all(own: Tensor, received: Sequence[Tensor], place: int, reduction: str, truth: bool) -> Tensor:
    """What the ranks of a group had, combined in the memory of `own`: in their order, so that all get the same bits.

    Args:
        received: from the others, by rank.
        place: of this rank in its group.
        truth: whether these are truth values.
    """
    combine = _combiner(reduction, truth)
    ranks = [*received[:place], own, *received[place:]]
    first, rest = ranks[0], ranks[1:]
    for other in rest:
        combine(first, other, out=own if other is rest[-1] else first)  # type: ignore[call-arg]
    return own


def _combiner(reduction: str, truth: bool) -> Callable[[Tensor, Tensor], Tensor]:
    return _ON_BITS.get(reduction, _COMBINE[reduction]) if truth else _COMBINE[reduction]


def _pairs(group: dist.ProcessGroup) -> Iterator[tuple[int, int, int]]:
    """Number, rank behind and rank before this one by each distance: all ranks go through them in the same order."""
    size, rank = dist.get_world_size(group), dist.get_rank(group)
    for distance in range(1, size):
        yield distance - 1, (rank + distance) % size, (rank - distance) % size


def _pair(
    outgoing: Tensor, after: int, incoming: Tensor, before: int, group: dist.ProcessGroup, channels: Channels
) -> Iterator[Any]:
    """Start one message each way, of one size."""
    to, from_ = dist.get_global_rank(group, after), dist.get_global_rank(group, before)
    yield channels.send(outgoing, to) or dist.isend(outgoing, to, group)
    yield channels.receive(incoming, from_) or dist.irecv(incoming, from_, group)
