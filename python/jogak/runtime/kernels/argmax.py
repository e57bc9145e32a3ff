"""Arg-max pairs: one result keeps the best value, the other what belongs to where it was found first.

Only the strict comparison is recognized (`>` or `<`: the first of several equal values wins), as torch's own maximum
does; anything else is left to the sequential loop. A NaN wins the value; the position beside it is then torch's.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from jogak.runtime.kernels.evaluate import closure, producers
from jogak.runtime.kernels.generic import Generic
from jogak.runtime.spec import RegionOp

_MAX = {"arith.maximumf", "arith.maxsi", "arith.maxnumf"}
_MIN = {"arith.minimumf", "arith.minsi", "arith.minnumf"}
_GREATER = {("arith.cmpf", 2), ("arith.cmpf", 9), ("arith.cmpi", 4)}
_LESS = {("arith.cmpf", 4), ("arith.cmpf", 11), ("arith.cmpi", 2)}


class Pair(NamedTuple):
    """The candidate value, what goes with it, and whether the largest wins."""

    value: int
    companion: int
    largest: bool


def lower(op: Generic) -> list[Tensor] | None:
    """Both results; None when the op is not an arg-max pair."""
    loops = op.reduced_loops(0) if len(op.spec.region.yields) == 2 else ()
    if not loops or op.reduced_loops(1) != loops or prod(op.spec.sizes[loop] for loop in loops) <= 1:
        return None
    pair = _recognize(op)
    if pair is None:
        return None
    values = _flat(op, pair.value, loops)
    best, position = _best(op, values, pair.largest)
    companion = torch.gather(_flat(op, pair.companion, loops), -1, position)
    shape = [1 if loop in loops else size for loop, size in enumerate(op.spec.sizes)]
    best, companion = best.reshape(shape), companion.reshape(shape)
    init = op.region.tensor(op.spec.inputs)
    better = best > init if pair.largest else best < init
    kept = torch.where(better, companion, op.region.tensor(op.spec.inputs + 1))
    extreme = torch.maximum(best, init) if pair.largest else torch.minimum(best, init)
    return [op.place(0, extreme), op.place(1, kept)]


def _best(op: Generic, values: Tensor, largest: bool) -> tuple[Tensor, Tensor]:
    found = op.emit.call(torch.max if largest else torch.min, values, -1, True)
    return found[0], found[1]


def _flat(op: Generic, value: int, loops: tuple[int, ...]) -> Tensor:
    """A value over the whole iteration space, the reduction loops merged into the last dimension."""
    sizes = op.spec.sizes
    kept = [loop for loop in range(len(sizes)) if loop not in loops]
    tensor = op.region.tensor(value).expand(list(sizes)).permute([*kept, *loops])
    return tensor.reshape([*(sizes[loop] for loop in kept), prod(sizes[loop] for loop in loops)])


def _recognize(op: Generic) -> Pair | None:
    region, best, kept = op.spec.region, op.spec.inputs, op.spec.inputs + 1
    choice = _producer(op, region.yields[1])
    if choice is None or choice.name != "arith.select" or choice.operands[2] != kept:
        return None
    condition = _producer(op, choice.operands[0])
    if condition is None or len(condition.operands) != 2 or best not in condition.operands:
        return None
    value = next((number for number in condition.operands if number != best), best)
    direction = _direction(condition, value)
    if direction is None or closure(region, [value, choice.operands[1]]) & {best, kept}:
        return None
    pair = Pair(value, choice.operands[1], direction)
    return pair if _keeps_best(op, pair, choice.operands[0]) else None


def _direction(condition: RegionOp, value: int) -> bool | None:
    """True when the condition says that `value` is strictly greater, False for strictly less."""
    key = (condition.name, int(str(condition.attribute("predicate"))))
    if key in _GREATER:
        return condition.operands[0] == value
    if key in _LESS:
        return condition.operands[0] != value
    return None


def _keeps_best(op: Generic, pair: Pair, condition: int) -> bool:
    best = op.spec.inputs
    last = _producer(op, op.spec.region.yields[0])
    if last is None:
        return False
    if last.name == "arith.select":
        return last.operands == (condition, pair.value, best)
    return last.name in (_MAX if pair.largest else _MIN) and set(last.operands) == {pair.value, best}


def _producer(op: Generic, value: int) -> RegionOp | None:
    made = producers(op.spec.region).get(value)
    return None if made is None else op.spec.region.ops[made[0]]
