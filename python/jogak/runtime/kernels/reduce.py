"""Results whose reduction is `combine(accumulator, f(inputs))`, and results without any reduction."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from math import inf, prod
from typing import NamedTuple, cast

import torch
from torch import Tensor

from jogak.runtime.kernels import scalar
from jogak.runtime.kernels.evaluate import closure, producers
from jogak.runtime.kernels.generic import Generic
from jogak.runtime.spec import RegionOp, constant_value
from jogak.runtime.types import is_float

_FEW = 8
"""Elements along each dimension of a window that are compared one by one."""
Reduce = Callable[[Tensor, list[int], torch.dtype], Tensor]


class Reduction(NamedTuple):
    """`accumulator = op(accumulator, term)`: the op, the term, and the accumulator's argument number."""

    op: RegionOp
    term: int
    accumulator: int


def recognize(op: Generic, result: int) -> Reduction | None:
    """Read a result as a reduction of a term that no accumulator goes into; None when it is something else."""
    region = op.spec.region
    made = producers(region).get(region.yields[result])
    own = op.spec.inputs + result
    if made is None:
        return None
    last = region.ops[made[0]]
    if last.operands.count(own) != 1 or len(last.operands) != 2:
        return None
    term = next(number for number in last.operands if number != own)
    outputs = set(range(op.spec.inputs, len(op.spec.operands)))
    if closure(region, [term]) & outputs or last.name not in _REDUCE:
        return None
    return Reduction(last, term, own)


def lower(op: Generic, result: int) -> Tensor | None:
    """A result by vectorized evaluation; None when its reduction is not of this form."""
    loops = op.reduced_loops(result)
    if prod(op.spec.sizes[loop] for loop in loops) == 1 and op.accumulators(result) <= {op.spec.inputs + result}:
        return op.place(result, op.region.tensor(op.spec.region.yields[result]))
    found = recognize(op, result)
    if found is None:
        return None
    element = op.spec.operands[found.accumulator].element
    reduce = _reducer(found.op, element)
    if reduce is None:
        return None
    term = op.region.value(found.term)
    tensor = op.region.materialize(term)
    if not found.op.name.startswith(_IDEMPOTENT):
        tensor = tensor.expand(
            [s if loop in loops or loop in term.loops else 1 for loop, s in enumerate(op.spec.sizes)]
        )
    pairwise = None if element == "i1" else _PAIRWISE.get(found.op.name)
    window = [(loop, op.spec.sizes[loop]) for loop in loops if loop in term.loops]
    if pairwise is not None and len(window) > 1 and all(size <= _FEW for _, size in window):
        return op.place(result, with_init(op, found, _by_pairs(tensor, window, pairwise)))
    return op.place(result, with_init(op, found, reduce(tensor, list(loops), op.emit.dtype(element))))


def with_init(op: Generic, reduction: Reduction, reduced: Tensor) -> Tensor:
    """Combine with the initial value, in loop space, unless that is the identity."""
    if is_identity(op, reduction):
        return reduced
    init = op.region.tensor(reduction.accumulator)
    element = op.spec.operands[reduction.accumulator].element
    call = scalar.Call(reduction.op, (element, element), op.emit.precision)
    return cast(Tensor, scalar.function(reduction.op)(call, init, reduced))


def is_identity(op: Generic, reduction: Reduction) -> bool:
    """Whether the initial value changes nothing."""
    splat = op.spec.splats[reduction.accumulator]
    element = op.spec.operands[reduction.accumulator].element
    identity = _IDENTITY.get(reduction.op.name)
    return splat is not None and identity is not None and constant_value(splat, element) == identity


def _sum(x: Tensor, loops: list[int], dtype: torch.dtype) -> Tensor:
    return torch.sum(x, dim=loops, keepdim=True, dtype=dtype)


def _product(x: Tensor, loops: list[int], dtype: torch.dtype) -> Tensor:
    for loop in loops:
        x = torch.prod(x, dim=loop, keepdim=True, dtype=dtype)
    return x


def _maximum(x: Tensor, loops: list[int], _: torch.dtype) -> Tensor:
    return torch.amax(x, dim=loops, keepdim=True)


def _minimum(x: Tensor, loops: list[int], _: torch.dtype) -> Tensor:
    return torch.amin(x, dim=loops, keepdim=True)


def _by_pairs(x: Tensor, sizes: Sequence[tuple[int, int]], pairwise: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A window of few elements, loop by loop: PyTorch reduces short dimensions four times slower than it compares.

    Args:
        sizes: loops and how many elements they have.
    """
    for loop, size in reversed(sizes):
        x = functools.reduce(pairwise, [x.narrow(loop, at, 1) for at in range(size)])
    return x


def _maximum_number(x: Tensor, loops: list[int], _: torch.dtype) -> Tensor:
    return _ignoring_nan(x, loops, torch.amax, -inf)


def _minimum_number(x: Tensor, loops: list[int], _: torch.dtype) -> Tensor:
    return _ignoring_nan(x, loops, torch.amin, inf)


def _ignoring_nan(x: Tensor, loops: list[int], reduce: Callable[..., Tensor], identity: float) -> Tensor:
    nan = torch.isnan(x)
    best = reduce(torch.where(nan, identity, x), dim=loops, keepdim=True)
    return torch.where(torch.all(nan, dim=loops, keepdim=True), torch.nan, best)


def _all(x: Tensor, loops: list[int], _: torch.dtype) -> Tensor:
    return torch.all(x, dim=loops, keepdim=True)


def _any(x: Tensor, loops: list[int], _: torch.dtype) -> Tensor:
    return torch.any(x, dim=loops, keepdim=True)


def _odd(x: Tensor, loops: list[int], _: torch.dtype) -> Tensor:
    return (torch.sum(x, dim=loops, keepdim=True) & 1) != 0


_REDUCE: dict[str, Reduce] = {
    "arith.addf": _sum, "arith.addi": _sum, "arith.mulf": _product, "arith.muli": _product,
    "arith.maximumf": _maximum, "arith.minimumf": _minimum, "arith.maxsi": _maximum, "arith.minsi": _minimum,
    "arith.maxnumf": _maximum_number, "arith.minnumf": _minimum_number,
    "arith.andi": _all, "arith.ori": _any, "arith.xori": _odd,
}  # fmt: skip
_PAIRWISE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "arith.maximumf": torch.maximum, "arith.minimumf": torch.minimum,
    "arith.maxsi": torch.maximum, "arith.minsi": torch.minimum,
}  # fmt: skip
_BOOLEAN: dict[str, Reduce] = {
    "arith.andi": _all, "arith.muli": _all, "arith.ori": _any, "arith.xori": _odd, "arith.addi": _odd,
    "arith.maxsi": _all, "arith.minsi": _any,
}  # fmt: skip
_IDEMPOTENT = ("arith.max", "arith.min", "arith.and", "arith.or")
_IDENTITY: dict[str, float] = {
    "arith.addf": 0.0, "arith.addi": 0, "arith.mulf": 1.0, "arith.muli": 1, "arith.maximumf": -inf,
    "arith.minimumf": inf,
}  # fmt: skip


def _reducer(op: RegionOp, element: str) -> Reduce | None:
    if element == "i1":
        return _BOOLEAN.get(op.name)
    if op.name in ("arith.andi", "arith.ori", "arith.xori") and not is_float(element):
        return None
    return _REDUCE[op.name]
