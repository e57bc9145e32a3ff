"""torch-mlir's `tm_tensor` ops: scatter, scan, sort, topk and attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, sqrt
from typing import Any

import torch
from torch import Tensor

from jogak.errors import JogakError
from jogak.runtime.kernels.emit import Emitter
from jogak.runtime.spec import RegionSpec


def lower(emit: Emitter, spec: RegionSpec) -> Sequence[Tensor]:
    """The results of an op.

    Raises:
        JogakError: the op is not known, or its region does something that has no torch call.
    """
    found = _LOWER.get(spec.name)
    if found is None:
        raise JogakError(f"no torch kernel for the op {spec.name!r}")
    inputs = [emit.input() for _ in spec.operands]
    return found(emit, spec, inputs)


def _combiner(spec: RegionSpec) -> str | None:
    """The op that combines the region's two arguments; None for "take the first"."""
    region = spec.region
    if region.yields == (0,):
        return None
    if len(region.ops) == 1 and sorted(region.ops[0].operands) == [0, 1] and region.yields == (2,):
        return region.ops[0].name
    raise _unsupported(spec)


def _unsupported(spec: RegionSpec) -> JogakError:
    ops = ", ".join(op.name for op in spec.region.ops) or "nothing"
    return JogakError(f"the region of a {spec.name} ({ops}) has no torch call", hint="use a single combining op")


_SCATTER = {
    "arith.addf": "sum", "arith.addi": "sum", "arith.mulf": "prod", "arith.muli": "prod", "arith.maximumf": "amax",
    "arith.maxsi": "amax", "arith.minimumf": "amin", "arith.minsi": "amin",
}  # fmt: skip


def _scatter(emit: Emitter, spec: RegionSpec, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Each update slice is combined into the tensor at the place that its row of indices names."""
    updates, indices, original = inputs
    combiner = _combiner(spec)
    if combiner is not None and combiner not in _SCATTER:
        raise _unsupported(spec)
    if combiner in ("arith.addf", "arith.addi") and _whole_rows(spec):
        shape = [spec.operands[0].shape[0], *spec.operands[2].shape[1:]]
        return [torch.index_add(original, 0, indices.reshape(-1), updates.reshape(shape))]
    places = _addresses(emit, spec, indices).reshape(-1)
    flat, values = original.reshape(-1), updates.reshape(-1)
    if combiner is None:
        result = torch.scatter(flat, 0, places, values)
    else:
        result = torch.scatter_reduce(flat, 0, places, values, _SCATTER[combiner])
    return [result.reshape(list(spec.results[0].shape))]


def _map(spec: RegionSpec) -> list[int]:
    value = spec.attribute("dimension_map")
    return [int(str(dim)) for dim in value] if isinstance(value, tuple) else []


def _whole_rows(spec: RegionSpec) -> bool:
    """Whether every update is one whole row of the first dimension."""
    updates, _, original = (operand.shape for operand in spec.operands)
    return _map(spec) == [0] and updates[1:] in (original[1:], (1, *original[1:]))


def _addresses(emit: Emitter, spec: RegionSpec, indices: Tensor) -> Tensor:
    """The flat element number of every element of the updates."""
    updates, _, original = (operand.shape for operand in spec.operands)
    rank = len(updates)
    steps = [1] * len(original)
    for dim in range(len(original) - 2, -1, -1):
        steps[dim] = steps[dim + 1] * original[dim + 1]
    address = emit.call(torch.zeros, [1] * rank, dtype=torch.int64)
    for column, dim in enumerate(_map(spec)):
        start = indices.select(1, column).to(torch.int64).reshape([updates[0], *[1] * (rank - 1)])
        address = address + start * steps[dim]
    first = len(original) - (rank - 1)
    for dim in range(1, rank):
        line = emit.call(torch.arange, updates[dim]).reshape([-1 if d == dim else 1 for d in range(rank)])
        address = address + line * steps[first + dim - 1]
    return address.expand(list(updates))


_SCAN: dict[str, Callable[..., Tensor]] = {
    "arith.addf": torch.cumsum, "arith.addi": torch.cumsum, "arith.mulf": torch.cumprod, "arith.muli": torch.cumprod,
}  # fmt: skip
_SCAN_BEST: dict[str, Callable[..., Any]] = {
    "arith.maximumf": torch.cummax, "arith.maxsi": torch.cummax, "arith.minimumf": torch.cummin,
    "arith.minsi": torch.cummin,
}  # fmt: skip


def _scan(emit: Emitter, spec: RegionSpec, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """A running combination along a dimension; exclusive scans start from the accumulator."""
    source, _, accumulator = inputs
    dim = int(str(spec.attribute("dimension")))
    combiner = _combiner(spec)
    length = spec.operands[0].shape[dim]
    if not spec.attribute("inclusive"):
        source = emit.call(torch.cat, [accumulator.unsqueeze(dim), source.narrow(dim, 0, length - 1)], dim)
    if combiner in _SCAN:
        scanned = emit.call(_SCAN[combiner], source, dim, dtype=emit.dtype(spec.results[0].element))
    elif combiner in _SCAN_BEST:
        scanned = emit.call(_SCAN_BEST[combiner], source, dim)[0]
    else:
        raise _unsupported(spec)
    return [scanned, scanned.select(dim, length - 1)]


def _descending(spec: RegionSpec) -> bool:
    """Whether the region's comparison of its first two arguments orders from large to small."""
    op = spec.region.ops[0] if len(spec.region.ops) == 1 else None
    if op is None or op.name not in ("arith.cmpf", "arith.cmpi") or sorted(op.operands) != [0, 1]:
        raise _unsupported(spec)
    predicate = int(str(op.attribute("predicate")))
    greater, less = ((2, 3, 9, 10), (4, 5, 11, 12)) if op.name == "arith.cmpf" else ((4, 5), (2, 3))
    if predicate not in greater + less:
        raise _unsupported(spec)
    return (predicate in greater) == (op.operands == (0, 1))


def _sort(emit: Emitter, spec: RegionSpec, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """A stable sort by the first operand; the others follow it."""
    dim = int(str(spec.attribute("dimension")))
    keys = inputs[spec.inputs]
    order = emit.call(torch.sort, keys, dim=dim, descending=_descending(spec), stable=True)
    return [order[0], *(torch.gather(other, dim, order[1]) for other in inputs[spec.inputs + 1 :])]


def _topk(emit: Emitter, spec: RegionSpec, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """The first elements of a stable sort: of equal values the first one is selected."""
    dim = int(str(spec.attribute("dimension")))
    kept = spec.results[0].shape[dim]
    order = emit.call(torch.sort, inputs[0], dim=dim, descending=_descending(spec), stable=True)
    position = order[1].narrow(dim, 0, kept)
    index = torch.gather(inputs[1], dim, position) if spec.inputs == 2 else position
    return [order[0].narrow(dim, 0, kept), index.to(emit.dtype(spec.results[1].element))]


def _attention(emit: Emitter, spec: RegionSpec, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """`softmax(Q K^T / sqrt(d) + mask) V`; a boolean mask says what to keep; a row that keeps nothing gives 0."""
    query, key, value = inputs[:3]
    scores = torch.matmul(query, key.transpose(-1, -2)) / sqrt(spec.operands[0].shape[-1])
    if spec.inputs > 3:
        kept = spec.operands[3].element == "i1"
        scores = torch.where(inputs[3], scores, -inf) if kept else scores + inputs[3]
    weights = torch.softmax(scores, dim=-1)
    empty = (scores == -inf).all(dim=-1, keepdim=True)
    return [torch.matmul(torch.where(empty, 0.0, weights), value)]


_LOWER: dict[str, Callable[[Emitter, RegionSpec, Sequence[Tensor]], Sequence[Tensor]]] = {
    "tm_tensor.scatter": _scatter,
    "tm_tensor.scan": _scan,
    "tm_tensor.sort": _sort,
    "tm_tensor.topk": _topk,
    "tm_tensor.attention": _attention,
}
