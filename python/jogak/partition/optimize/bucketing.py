"""Bucketing: small collectives that can wait for each other become one, as in PyTorch's DistributedDataParallel.

A collective can wait until something needs its result. In program order those that wait are gathered, and when the
first of their results is needed all that lie alike (kind, axes, combiner, element type) are done in one, at the place
of the last: this needs the fewest collectives, and each is still as early as its last operand. Two things let
more of them meet. What only makes results of the program (an optimizer's update) can wait for its gradient. And before
a bucket is closed, those that would come next but need nothing of it are done earlier. What it saves is latency; what
it costs is copying into the buffer and out of it, so large ones stay alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cmp_to_key

from torch_mlir import ir

from jogak.cost.element import element_size
from jogak.cost.model import CostModel
from jogak.ir.rewrite.build import top_level
from jogak.ir.structured import element_of, is_tensor, region_values
from jogak.partition.optimize.collectives import (
    ALL_GATHER,
    ALL_REDUCE,
    REDUCE_SCATTER,
    VIEWS,
    axes_of,
    group_size,
    reduction_of,
    size_of,
)
from jogak.partition.optimize.packing import emit_bucket, gathered_groups, lead_of, needs_transpose
from jogak.sharding.mesh import Mesh

_AHEAD = 32
"""How many ops further a bucket looks for collectives that could join it."""
_MOST_MOVED = 6
"""How many ops are done earlier for one of them at most."""
_BUCKETED = (ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER)
_Key = tuple[str, tuple[int, ...], str, str]


@dataclass(eq=False)
class _Bucket:
    """Collectives that wait for each other.

    Attributes:
        key: what they have in common.
        members: in program order.
        waiting: ops in between that only need results of members, or of each other, and can wait with them.
        bytes: of all buffers; the larger of operand and result.
    """

    key: _Key
    members: list[ir.Operation] = field(default_factory=list)
    waiting: list[ir.Operation] = field(default_factory=list)
    bytes: int = 0


class _Walk:
    """The state of one walk over a function."""

    def __init__(self, mesh: Mesh, cost: CostModel, limit: int, ops: Sequence[ir.Operation]) -> None:
        self.ops = ops
        self.place = 0
        self.last = _only_for_results(ops)
        self.early: set[int] = set()
        self.mesh = mesh
        self.cost = cost
        self.limit = limit
        self.open: dict[_Key, _Bucket] = {}
        self.carried: dict[ir.Value, tuple[_Bucket, ...]] = {}
        self.saved = 0

    def visit(self, op: ir.Operation) -> None:
        """Let an op wait, or complete what it needs; a collective begins to wait."""
        needed = self.needed(op)
        if needed and (_can_wait(op) or self.place in self.last):
            for bucket in needed:
                bucket.waiting.append(op)
            self.carried |= dict.fromkeys(op.results, needed)
            return
        for bucket in sorted(needed, key=lambda each: each.key[0] != REDUCE_SCATTER):
            if self.open.get(bucket.key) is bucket:
                self.advance(bucket, op)
                self.close(bucket)
        if op.name in _BUCKETED and self.copying(op) < self.seconds(op, 0):
            self.add(op)

    def needed(self, op: ir.Operation) -> tuple[_Bucket, ...]:
        """The open buckets whose results an op reads."""
        read = (bucket for value in [*op.operands, *region_values(op)] for bucket in self.carried.get(value, ()))
        return tuple(bucket for bucket in dict.fromkeys(read) if self.open.get(bucket.key) is bucket)

    def seconds(self, op: ir.Operation, bytes_: int) -> float:
        """Of a collective like `op` on a buffer of this size."""
        axes = tuple(self.mesh.axes[axis] for axis in axes_of(op))
        return float(self.cost.collective(op.name.removeprefix("shard."), axes, bytes_))

    def copying(self, op: ir.Operation) -> float:
        """Seconds that one member spends on packing and unpacking: its part of the buffer, and moves of its own."""
        kernels = (op.name != ALL_REDUCE and needs_transpose(op)) + (op.name == ALL_GATHER)
        return float(self.cost.copy(_bytes(op)) * (1 + kernels) - self.cost.copy(0))

    def gain(self, bucket: _Bucket) -> float:
        """Seconds that doing the members in one saves."""
        members = bucket.members
        apart = sum(self.seconds(op, _bytes(op)) - self.copying(op) for op in members)
        return apart + self.together(bucket) - self.seconds(lead_of(members), bucket.bytes) - self.cost.copy(0)

    def together(self, bucket: _Bucket) -> float:
        """Seconds that are saved where gathered members of one size are unpacked together."""
        if bucket.key[0] != ALL_GATHER:
            return 0.0
        sizes = {size_of(op.operands[0]): _bytes(op) for op in bucket.members}
        groups = gathered_groups([size_of(op.operands[0]) for op in bucket.members])
        saved = 0.0
        for width, count in groups.items():
            saved += (count - 1) * self.cost.copy(0)
            if count < len(bucket.members):  # they are sliced out of the buffer first
                saved -= self.cost.copy(count * sizes[width])
        return saved

    def add(self, op: ir.Operation) -> None:
        """Let a collective wait for others like it."""
        key = _key(op)
        if key in self.open and self.open[key].bytes + _bytes(op) > self.limit:
            self.close(self.open[key])
        bucket = self.open.setdefault(key, _Bucket(key))
        bucket.members.append(op)
        bucket.bytes += _bytes(op)
        self.carried[op.results[0]] = (bucket,)

    def advance(self, bucket: _Bucket, op: ir.Operation) -> None:
        """Let collectives soon behind `op` join the bucket, if they need nothing that waits and little is moved."""
        waiting = [each for other in self.open.values() for each in (*other.members, *other.waiting)]
        dependent = {result for each in waiting for result in each.results}
        between: list[ir.Operation] = []
        numbers: dict[ir.Operation, int] = {}
        for number in range(self.place, min(self.place + _AHEAD, len(self.ops))):
            if number in self.early:
                continue
            other = self.ops[number]
            numbers[other] = number
            if any(value in dependent for value in _read(other)) or (
                other.name in _BUCKETED and _key(other) != bucket.key
            ):
                dependent.update(other.results)
            elif other.name in _BUCKETED:
                moved = _needed_of(other, between)
                fits = bucket.bytes + _bytes(other) <= self.limit and self.copying(other) < self.seconds(other, 0)
                if fits and len(moved) <= _MOST_MOVED and not any(each.name in _BUCKETED for each in moved):
                    for each in (*moved, other):
                        each.move_before(op)
                        self.early.add(numbers[each])
                    self.add(other)
                    dependent.update(other.results)
                    between = [each for each in between if each not in moved]
                    continue
            between.append(other)

    def absorb(self, bucket: _Bucket) -> None:
        """Let small all-reduces (a loss) ride along in a reduce-scatter, which then has a copy for each device."""
        other = self.open.get((ALL_REDUCE, *bucket.key[1:]))
        if other is None:
            return
        copies = other.bytes * group_size(bucket.members[0], self.mesh)
        lead = bucket.members[0]
        longer = self.seconds(lead, bucket.bytes + copies) - self.seconds(lead, bucket.bytes)
        if longer + self.cost.copy(copies) >= self.seconds(other.members[0], other.bytes):
            return
        del self.open[other.key]
        bucket.members = _in_order([*bucket.members, *other.members])
        bucket.waiting = _in_order(list(dict.fromkeys([*bucket.waiting, *other.waiting])))
        bucket.bytes += copies

    def close(self, bucket: _Bucket) -> None:
        """Replace the members of a bucket by one collective, where that is a gain."""
        del self.open[bucket.key]
        if bucket.key[0] == REDUCE_SCATTER:
            self.absorb(bucket)
        if len(bucket.members) < 2 or self.gain(bucket) <= 0:
            return
        values = emit_bucket(bucket.members, group_size(bucket.members[0], self.mesh))
        place = values[-1].owner.operation
        for op in bucket.waiting:
            if op.is_before_in_block(place):
                op.move_after(place)
                place = op
        for op, value in zip(bucket.members, values, strict=True):
            op.results[0].replace_all_uses_with(value)
            op.erase()
        self.saved += len(values) - 1


def bucket_collectives(function: ir.Operation, mesh: Mesh, cost: CostModel, limit: int) -> int:
    """Bucket the collectives of a per-device program; return how many fewer it has.

    Args:
        cost: what a collective and a copy take.
        limit: the most bytes in one bucket.
    """
    ops = top_level(function)
    walk = _Walk(mesh, cost, limit, ops)
    for place, op in enumerate(ops):
        walk.place = place
        if place not in walk.early:
            walk.visit(op)
    return walk.saved


def _in_order(ops: Sequence[ir.Operation]) -> list[ir.Operation]:
    def order(a: ir.Operation, b: ir.Operation) -> int:
        return -1 if a.is_before_in_block(b) else 1

    return sorted(ops, key=cmp_to_key(order))


def _key(op: ir.Operation) -> _Key:
    return op.name, axes_of(op), reduction_of(op), element_of(op.operands[0])


def _read(op: ir.Operation) -> list[ir.Value]:
    return [*op.operands, *region_values(op)]


def _needed_of(op: ir.Operation, among: Sequence[ir.Operation]) -> list[ir.Operation]:
    """The ops of `among` that make what `op` reads, directly or not, in their order."""
    wanted = set(_read(op))
    found = []
    for each in reversed(among):
        if any(result in wanted for result in each.results):
            found.append(each)
            wanted.update(_read(each))
    return found[::-1]


def _only_for_results(ops: Sequence[ir.Operation]) -> set[int]:
    """The numbers of the ops behind which no collective comes: all that is made of them is returned."""
    found: set[ir.Operation] = set()
    numbers: set[int] = set()
    for number, op in reversed(list(enumerate(ops))):
        if op.name.startswith("shard.") or op.name == "func.return":
            continue
        users = [use.owner.operation for result in op.results for use in result.uses]
        if all(user.name == "func.return" or user in found for user in users):
            found.add(op)
            numbers.add(number)
    return numbers


def _bytes(op: ir.Operation) -> int:
    return max(size_of(op.operands[0]), size_of(op.results[0])) * element_size(element_of(op.operands[0]))


def _can_wait(op: ir.Operation) -> bool:
    """Whether an op may be done later at no cost: a reshape, or arithmetic on single numbers (a loss)."""
    if op.name in VIEWS:
        return True
    if op.name != "linalg.generic":
        return False
    return all(size_of(value) == 1 for value in [*op.operands, *op.results] if is_tensor(value))
