"""The mesh of a generated program: process groups, and collectives that run while the program goes on.

A group is a tuple of mesh axes. Its members are ordered by their positions on those axes, the last axis fastest. Every
collective returns at once; `wait()` gives its result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import count, product
from math import prod
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store, _get_default_store

from . import exchange
from .channels import Channels, connect
from .errors import CommunicationError
from .exchange import takes_messages

if TYPE_CHECKING:
    from .measure import Recorder

Axes = tuple[str, ...]
Margin = tuple[int, Axes, int, int]
"""A dimension, the axes that split it, and how many elements of the neighbour before and behind a piece holds."""

_MESHES = count()

_OPERATORS = {
    "sum": dist.ReduceOp.SUM, "average": dist.ReduceOp.SUM, "product": dist.ReduceOp.PRODUCT,
    "max": dist.ReduceOp.MAX, "min": dist.ReduceOp.MIN, "bitwise_and": dist.ReduceOp.BAND,
    "bitwise_or": dist.ReduceOp.BOR, "bitwise_xor": dist.ReduceOp.BXOR,
}  # fmt: skip
_ON_BITS = {"sum": dist.ReduceOp.MAX, "product": dist.ReduceOp.MIN}
"""What a sum and a product of truth values are."""
_WIRE = {torch.bool: torch.uint8, torch.int16: torch.int32}
"""Types that gloo does not carry (or carries only in some collectives), and what is sent instead."""


class Pending:
    """The result of a collective that is under way.

    Args:
        work: what torch.distributed returned, or several of them; None when there is nothing to wait for.
        finish: makes the result, after the work is done.
        what: the collective, for errors.
        kept: the memory that is being sent, which must live until the work is done.
    """

    def __init__(self, work: Any, finish: Callable[[], Tensor], what: str, kept: Tensor | None = None) -> None:
        self._work = work
        self._finish = finish
        self._what = what
        self._kept = kept

    def wait(self) -> Tensor:
        """The result.

        Raises:
            CommunicationError: the collective failed or took longer than the timeout.
        """
        if self._work is not None:
            try:
                for work in self._work if isinstance(self._work, list) else [self._work]:
                    work.wait()
            except RuntimeError as error:
                raise CommunicationError(f"{self._what} failed: {error}") from error
        return self._finish()


class Mesh:
    """This process's place on the mesh.

    Args:
        axes: the size of each axis, major to minor in the order of ranks.
        groups: the tuples of axes that collectives run over; one process group is made for each.
        rank: of this process.
        timeout: seconds that a collective may take.
    """

    def __init__(self, axes: Mapping[str, int], groups: Sequence[Axes], rank: int, timeout: float) -> None:
        self.axes = dict(axes)
        self.rank = rank
        self.position = coordinates(self.axes, rank)
        self.calls: dict[tuple[str, Axes], int] = {}
        self.recorder: Recorder | None = None
        self._prefix = f"mesh/{next(_MESHES)}"
        self._groups = {each: self._new_group(each, timeout) for each in groups if self.size(each) > 1}
        self._channels = self._connect(timeout)

    def meet(self) -> None:
        """Wait for all processes of the mesh.

        Raises:
            CommunicationError: one of them does not come.
        """
        if not dist.is_initialized():
            return
        try:
            dist.barrier()
        except RuntimeError as error:
            raise CommunicationError(f"waiting for the other ranks failed: {error}") from error

    def _store(self) -> Store:
        """Where ranks leave word; a process may have several meshes, and all ranks make them in one order."""
        return PrefixStore(self._prefix, _get_default_store())

    def await_all(self, what: str, patience: float) -> None:
        """Wait for all processes longer than a collective may take.

        Args:
            what: they have done; a word that is used once.
            patience: seconds.

        Raises:
            CommunicationError: one of them does not come.
        """
        if not dist.is_initialized():
            return
        store = self._store()
        store.set(f"{what}/{self.rank}", "")
        for other in range(dist.get_world_size()):
            try:
                store.wait([f"{what}/{other}"], timedelta(seconds=patience))
            except RuntimeError as error:
                raise CommunicationError(f"rank {other} has not {what}: {error}") from error

    def size(self, axes: Axes) -> int:
        """The number of devices in a group."""
        return prod(self.axes[axis] for axis in axes)

    def index(self, axes: Axes) -> int:
        """The position of this process in its group."""
        index = 0
        for axis in axes:
            index = index * self.axes[axis] + self.position[axis]
        return index

    def _new_group(self, axes: Axes, timeout: float) -> dist.ProcessGroup:
        """This process's group over `axes`; every process makes every group, in the same order."""
        own = None
        for members in partition(self.axes, axes):
            made = dist.new_group(list(members), timeout=timedelta(seconds=timeout), sort_ranks=False)
            if self.rank in members:
                own = made
        if not isinstance(own, dist.ProcessGroup):
            raise CommunicationError(f"rank {self.rank} has no group over {', '.join(axes)}")
        return own

    def _connect(self, timeout: float) -> Channels:
        """Channels to the others of this process's groups that take messages."""
        groups = [group for group in self._groups.values() if takes_messages(group)]
        peers = {rank for group in groups for rank in dist.get_process_group_ranks(group)} - {self.rank}
        return connect(self.rank, peers, self._store(), timeout) if peers else Channels({}, timeout)

    def all_reduce(self, tensor: Tensor, axes: Axes, reduction: str, *, in_place: bool = False) -> Pending:
        """Reduce a tensor over a group.

        Args:
            in_place: the tensor's memory may hold the result: nothing else reads it.
        """
        lying, order = _as_it_lies(tensor)
        sent, operator = _prepare(lying, reduction)
        if not in_place and sent is lying:
            sent = sent.clone()
        received: list[Tensor] = []

        def start(group: dist.ProcessGroup) -> Any:
            if not takes_messages(group) or not exchange.received_whole(sent.nbytes, self.size(axes)):
                return dist.all_reduce(sent, operator, group, async_op=True)
            works, others = exchange.swap(sent, group, self._channels)
            received.extend(others)
            return works

        work = self._start("all_reduce", axes, start)

        def finish() -> Tensor:
            if received:
                exchange.reduce_all(sent, received, self.index(axes), reduction, tensor.dtype == torch.bool)
            return self._result(sent, tensor.dtype, reduction, axes).permute(order)

        return self._pending("all_reduce", axes, work, finish)

    def reduce_scatter(self, tensor: Tensor, axes: Axes, reduction: str, dim: int) -> Pending:
        """Reduce a tensor over a group; this process keeps its part of dimension `dim`."""
        parts = self.size(axes)
        sent, operator = _prepare(_split_first(tensor, dim, parts), reduction)
        group = self._groups.get(axes)
        messages = group is not None and takes_messages(group)
        kept = sent.new_empty((parts - 1, *sent.shape[1:]) if messages else sent.shape[1:])

        def start(group: dist.ProcessGroup) -> Any:
            if messages:
                return exchange.scatter(sent, kept, group, self._channels)
            return dist.reduce_scatter_tensor(kept.view(-1), sent.view(-1), operator, group, async_op=True)

        def finish() -> Tensor:
            whole = kept if work is not None else sent[0]
            if messages:
                whole = exchange.reduce(sent[self.index(axes)], kept, reduction, tensor.dtype == torch.bool)
            return self._result(whole, tensor.dtype, reduction, axes)

        work = self._start("reduce_scatter", axes, start)
        return self._pending("reduce_scatter", axes, work, finish, sent)

    def all_gather(self, tensor: Tensor, axes: Axes, dim: int) -> Pending:
        """The tensors of a group behind each other along dimension `dim`."""
        sent = tensor.contiguous().to(_WIRE.get(tensor.dtype, tensor.dtype))
        if self.size(axes) == 1:
            return self._pending("all_gather", axes, None, lambda: tensor)
        gathered = sent.new_empty((self.size(axes), *sent.shape))

        def start(group: dist.ProcessGroup) -> Any:
            if takes_messages(group):
                return exchange.gather(sent, gathered, group, self._channels)
            return dist.all_gather_into_tensor(gathered.view(-1), sent.view(-1), group, async_op=True)

        work = self._start("all_gather", axes, start)
        return self._pending("all_gather", axes, work, lambda: _join_first(gathered, dim).to(tensor.dtype), sent)

    def all_to_all(self, tensor: Tensor, axes: Axes, split: int, dim: int) -> Pending:
        """Send each process of a group its part of dimension `split`; what comes in is joined along `dim`."""
        parts = _split_first(tensor, split, self.size(axes))
        sent = parts.to(_WIRE.get(tensor.dtype, tensor.dtype))
        received = torch.empty_like(sent)
        work = self._start(
            "all_to_all",
            axes,
            lambda group: dist.all_to_all_single(received.view(-1), sent.view(-1), group=group, async_op=True),
        )
        whole = received if work is not None else sent
        return self._pending("all_to_all", axes, work, lambda: _join_first(whole, dim).to(tensor.dtype), sent)

    def permute(self, tensor: Tensor, axes: Axes, sources: Sequence[int]) -> Pending:
        """Pieces change places within a group.

        Args:
            sources: from which position of the group each position receives.
        """
        self.calls["permute", axes] = self.calls.get(("permute", axes), 0) + 1
        group, own = self._groups.get(axes), self.index(axes)
        source, target = sources[own], list(sources).index(own)
        sent = tensor.contiguous().to(_WIRE.get(tensor.dtype, tensor.dtype))
        received = sent if group is None or source == own else torch.empty_like(sent)
        work: Any = None
        if group is not None:
            begin = time.perf_counter()
            works = self._transfer(sent, received, source, target, group) if source != own else []
            work = works if self.recorder is None else self.recorder.started("permute", axes, begin, works)
        return self._pending("permute", axes, work, lambda: received.to(tensor.dtype), sent)

    def _transfer(
        self, sent: Tensor, received: Tensor, source: int, target: int, group: dist.ProcessGroup
    ) -> list[Any]:
        """Send to one position of a group, and receive from one."""
        peers = dist.get_global_rank(group, target), dist.get_global_rank(group, source)
        operations = [dist.P2POp(dist.isend, sent, peers[0], group), dist.P2POp(dist.irecv, received, peers[1], group)]
        try:
            return list(dist.batch_isend_irecv(operations))
        except RuntimeError as error:
            raise CommunicationError(f"permute failed: {error}") from error

    def update_halo(self, tensor: Tensor, *margins: Margin, in_place: bool = False) -> Pending:
        """Fill the margins of a tensor with elements of its neighbours; at the ends of an axis they stay as they are.

        Args:
            margins: in the order in which they are filled; the later ones bring corners with them, so each but the last
                is complete before the next one starts.
            in_place: the tensor's memory may hold the result: nothing else reads it.
        """
        keeps = in_place and tensor.is_contiguous()
        result = tensor if keeps else tensor.clone(memory_format=torch.contiguous_format)
        axes = tuple(axis for _, along, _, _ in sorted(margins) for axis in along)
        self.calls["halo", axes] = self.calls.get(("halo", axes), 0) + 1
        begin = time.perf_counter()
        for number, margin in enumerate(margins):
            inner = result
            for dim, _, low, high in margins[number + 1 :]:
                inner = inner.narrow(dim, low, inner.shape[dim] - low - high)
            works, received = self._exchange(inner, margin)
            if self.recorder is not None and number + 1 == len(margins):
                works = self.recorder.started("halo", axes, begin, works)
            pending = Pending(works, partial(_fill, result, received), f"halo over {', '.join(axes)}")
            if number + 1 < len(margins):
                pending.wait()
        return pending

    def _exchange(self, tensor: Tensor, margin: Margin) -> tuple[list[Any], list[tuple[Tensor, Tensor]]]:
        """Send the first and the last own elements along a dimension to the neighbours, and receive theirs.

        Returns:
            What to wait for, and each margin with the memory that its elements come into.
        """
        dim, axes, low, high = margin
        size, index, group = tensor.shape[dim], self.index(axes), self._groups.get(axes)
        before, behind = (index - 1, (low, high), (0, low)), (index + 1, (size - high - low, low), (size - high, high))
        operations, received = [], []
        for other, outgoing, incoming in (before, behind):
            if group is None or not 0 <= other < self.size(axes):
                continue
            peer = dist.get_global_rank(group, other)
            if outgoing[1]:
                sent = tensor.narrow(dim, *outgoing).contiguous()
                operations.append(dist.P2POp(dist.isend, sent, peer, group))
            if incoming[1]:
                place = tensor.narrow(dim, *incoming)
                memory = torch.empty_like(place, memory_format=torch.contiguous_format)
                operations.append(dist.P2POp(dist.irecv, memory, peer, group))
                received.append((place, memory))
        try:
            works = dist.batch_isend_irecv(operations) if operations else []
        except RuntimeError as error:
            raise CommunicationError(f"halo over {', '.join(axes)} failed: {error}") from error
        return works, received

    def all_slice(self, tensor: Tensor, axes: Axes, dim: int) -> Tensor:
        """This process's part of a tensor that the whole group has; nothing is sent."""
        size = tensor.shape[dim] // self.size(axes)
        return tensor.narrow(dim, self.index(axes) * size, size)

    def _start(self, kind: str, axes: Axes, start: Callable[[dist.ProcessGroup], Any]) -> Any:
        """Start a collective; None where the group is only this process."""
        self.calls[kind, axes] = self.calls.get((kind, axes), 0) + 1
        group = self._groups.get(axes)
        if group is None:
            return None
        begin = time.perf_counter()
        try:
            work = start(group)
        except RuntimeError as error:
            raise CommunicationError(f"{kind} over {', '.join(axes)} failed: {error}") from error
        if self.recorder is None:
            return work
        return self.recorder.started(kind, axes, begin, work if isinstance(work, list) else [work])

    def _pending(
        self, kind: str, axes: Axes, work: Any, finish: Callable[[], Tensor], kept: Tensor | None = None
    ) -> Pending:
        return Pending(work, finish, f"{kind} over {', '.join(axes)}", kept)

    def _result(self, tensor: Tensor, dtype: torch.dtype, reduction: str, axes: Axes) -> Tensor:
        total = tensor.to(dtype)
        return total / self.size(axes) if reduction == "average" else total


def _fill(result: Tensor, received: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """A tensor with what came in for its margins."""
    for place, memory in received:
        place.copy_(memory)
    return result


def coordinates(axes: Mapping[str, int], rank: int) -> dict[str, int]:
    """Where a rank stands on each axis; the last axis counts fastest."""
    position: dict[str, int] = {}
    for axis, size in reversed(list(axes.items())):
        rank, position[axis] = divmod(rank, size)
    return position


def partition(axes: Mapping[str, int], group: Axes) -> Iterator[tuple[int, ...]]:
    """All groups over some axes, each in group order."""
    others = [axis for axis in axes if axis not in group]
    for fixed in product(*(range(axes[axis]) for axis in others)):
        place = dict(zip(others, fixed, strict=True))
        members = []
        for moving in product(*(range(axes[axis]) for axis in group)):
            place.update(zip(group, moving, strict=True))
            rank = 0
            for axis, size in axes.items():
                rank = rank * size + place[axis]
            members.append(rank)
        yield tuple(members)


def _prepare(tensor: Tensor, reduction: str) -> tuple[Tensor, Any]:
    """The tensor as it is sent, and the operator."""
    operator = _OPERATORS[reduction]
    if tensor.dtype == torch.bool:
        operator = _ON_BITS.get(reduction, operator)
    return tensor.contiguous().to(_WIRE.get(tensor.dtype, tensor.dtype)), operator


def _as_it_lies(tensor: Tensor) -> tuple[Tensor, list[int]]:
    """A tensor with its dimensions in the order of memory, and the permutation back; as it is where it has gaps.

    Every element is reduced by itself, and programs of one plan lay a value out alike.
    """
    strides = tensor.stride()
    order = sorted(range(tensor.dim()), key=lambda dim: -strides[dim])
    lying = tensor.permute(order)
    if tensor.is_contiguous() or not lying.is_contiguous():
        return tensor, list(range(tensor.dim()))
    return lying, [order.index(dim) for dim in range(tensor.dim())]


def _split_first(tensor: Tensor, dim: int, parts: int) -> Tensor:
    """The parts of a dimension as a new first dimension, contiguous."""
    shape = (*tensor.shape[:dim], parts, -1, *tensor.shape[dim + 1 :])
    return tensor.reshape(shape).movedim(dim, 0).contiguous()


def _join_first(tensor: Tensor, dim: int) -> Tensor:
    """The entries of the first dimension behind each other along `dim` of the rest."""
    return tensor.flatten(0, 1) if dim == 0 else torch.cat(tensor.unbind(0), dim)
