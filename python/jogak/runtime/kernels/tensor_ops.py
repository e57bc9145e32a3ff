"""Ops on whole tensors: shapes, slices, padding, constants, and scalar arithmetic outside of regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from jogak.errors import JogakError
from jogak.runtime.kernels import scalar
from jogak.runtime.kernels.emit import Emitter
from jogak.runtime.spec import RegionOp, TensorSpec, constant_text, constant_value
from jogak.runtime.types import dtype_of, is_float

DYNAMIC = -(1 << 63)
"""What MLIR writes in a static list where the value is an operand."""

Lower = Callable[[Emitter, TensorSpec, Sequence[Tensor]], Tensor]


def lower(emit: Emitter, spec: TensorSpec) -> Sequence[Tensor]:
    """The results of an op.

    Raises:
        JogakError: the op is not known.
    """
    inputs = [emit.input() for _ in spec.operands]
    if spec.name in _LOWER:
        return [_LOWER[spec.name](emit, spec, inputs)]
    op = RegionOp(spec.name, tuple(range(len(inputs))), spec.attributes, tuple(r.element for r in spec.results))
    call = scalar.Call(op, tuple(operand.element for operand in spec.operands), emit.precision)
    results = scalar.function(op)(call, *inputs)
    return list(results) if isinstance(results, tuple) else [results]


def supported(name: str) -> bool:
    """Whether an op can be lowered here."""
    return name in _LOWER or name in scalar.FUNCTIONS


def _ints(value: object) -> list[int]:
    return [int(str(item)) for item in value] if isinstance(value, tuple) else []


def _splat(emit: Emitter, spec: TensorSpec, _: Sequence[Tensor]) -> Tensor:
    return emit.full(spec.results[0].shape, str(spec.attribute("value")), spec.results[0].element)


def _empty(emit: Emitter, spec: TensorSpec, _: Sequence[Tensor]) -> Tensor:
    """Memory that nobody wrote: NaN or the largest integer, so that reading it shows."""
    element = spec.results[0].element
    poison: float = float("nan")
    if not is_float(element):
        poison = 1 if element == "i1" else torch.iinfo(dtype_of(element)).max
    return emit.full(spec.results[0].shape, constant_text(poison), element)


def _broadcast(_: Emitter, spec: TensorSpec, inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0].expand(list(spec.results[0].shape))


def _reshape(_: Emitter, spec: TensorSpec, inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0].reshape(list(spec.results[0].shape))


def _identity(_: Emitter, spec: TensorSpec, inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0]


def _bitcast(emit: Emitter, spec: TensorSpec, inputs: Sequence[Tensor]) -> Tensor:
    declared, result = spec.operands[0].element, spec.results[0].element
    return inputs[0].to(dtype_of(declared)).view(dtype_of(result)).to(emit.dtype(result))


class _Slices:
    """The offsets, sizes and strides of a slice; an offset may be known only when the program runs."""

    def __init__(self, spec: TensorSpec, scalars: Sequence[Tensor]) -> None:
        self.sizes = _ints(spec.attribute("static_sizes"))
        self.strides = _ints(spec.attribute("static_strides"))
        offsets = _ints(spec.attribute("static_offsets"))
        if DYNAMIC in self.sizes or DYNAMIC in self.strides:
            raise JogakError(f"{spec.name} with a dynamic size or stride cannot be executed", hint="make it static")
        dynamic = iter(scalars)
        self.offsets = [next(dynamic) if offset == DYNAMIC else offset for offset in offsets]


def _narrow(tensor: Tensor, dim: int, offset: Tensor | int, size: int, stride: int) -> Tensor:
    """`size` elements along a dimension from `offset` on, `stride` apart."""
    tensor = torch.narrow(tensor, dim, offset, (size - 1) * stride + 1)
    return tensor if stride == 1 else tensor[(*([slice(None)] * dim), slice(None, None, stride))]


def _extract_slice(_: Emitter, spec: TensorSpec, inputs: Sequence[Tensor]) -> Tensor:
    tensor, slices = inputs[0], _Slices(spec, inputs[1:])
    whole = zip(spec.operands[0].shape, slices.offsets, slices.sizes, slices.strides, strict=True)
    for dim, (extent, offset, size, stride) in enumerate(whole):
        if size == extent and stride == 1:
            continue
        tensor = _narrow(tensor, dim, offset, size, stride)
    return tensor if tuple(slices.sizes) == spec.results[0].shape else tensor.reshape(list(spec.results[0].shape))


def _insert_slice(emit: Emitter, spec: TensorSpec, inputs: Sequence[Tensor]) -> Tensor:
    source, target = inputs[:2]
    slices = _Slices(spec, inputs[2:])
    source = source.reshape(slices.sizes) if spec.operands[0].shape != tuple(slices.sizes) else source
    extents = spec.operands[1].shape
    dims = [d for d, extent in enumerate(extents) if slices.sizes[d] != extent or slices.strides[d] != 1]
    return _insert(emit, source, target, slices, dims)


def _insert(emit: Emitter, source: Tensor, target: Tensor, slices: _Slices, dims: Sequence[int]) -> Tensor:
    """Insert along the first of `dims` what is inserted along the others inside."""
    if not dims:
        return source
    dim, offset = dims[0], slices.offsets[dims[0]]
    length = (slices.sizes[dim] - 1) * slices.strides[dim] + 1
    start = offset if isinstance(offset, int) else emit.call(int, offset)
    if len(dims) > 1:
        part = _narrow(target, dim, offset, slices.sizes[dim], slices.strides[dim])
        source = _insert(emit, source, part, slices, dims[1:])
    return torch.slice_scatter(target, source, dim, start, start + length, slices.strides[dim])  # type: ignore[arg-type]


def _pad(emit: Emitter, spec: TensorSpec, inputs: Sequence[Tensor]) -> Tensor:
    low, high = _ints(spec.attribute("static_low")), _ints(spec.attribute("static_high"))
    if DYNAMIC in low or DYNAMIC in high:
        raise JogakError("tensor.pad with a dynamic amount cannot be executed", hint="make it static")
    result, value = spec.results[0], spec.attribute("value")
    if value is not None:
        widths = [width for pair in zip(reversed(low), reversed(high), strict=True) for width in pair]
        return emit.call(torch.constant_pad_nd, inputs[0], widths, constant_value(str(value), result.element))
    filled = inputs[1].expand(list(result.shape))
    place = (
        ("static_offsets", tuple(low)),
        ("static_sizes", spec.operands[0].shape),
        ("static_strides", (1,) * len(low)),
    )
    inner = TensorSpec("tensor.insert_slice", place, (spec.operands[0], result), (result,))
    return _insert_slice(emit, inner, [inputs[0], filled])


def _concat(emit: Emitter, spec: TensorSpec, inputs: Sequence[Tensor]) -> Tensor:
    return emit.call(torch.cat, list(inputs), int(str(spec.attribute("dim"))))


def _extract(emit: Emitter, spec: TensorSpec, inputs: Sequence[Tensor]) -> Tensor:
    if len(inputs) == 1:
        return inputs[0]
    return emit.call(torch.ops.aten.index.Tensor, inputs[0], list(inputs[1:]))


def _insert_element(emit: Emitter, spec: TensorSpec, inputs: Sequence[Tensor]) -> Tensor:
    if len(inputs) == 2:
        return inputs[0]
    return emit.call(torch.index_put, inputs[1], list(inputs[2:]), inputs[0])


def _from_elements(emit: Emitter, spec: TensorSpec, inputs: Sequence[Tensor]) -> Tensor:
    return emit.call(torch.stack, list(inputs)).reshape(list(spec.results[0].shape))


def _dim(emit: Emitter, spec: TensorSpec, inputs: Sequence[Tensor]) -> Tensor:
    shape = emit.call(torch.tensor, list(spec.operands[0].shape))
    return emit.call(torch.ops.aten.index.Tensor, shape, [inputs[1]])


def _rank(emit: Emitter, spec: TensorSpec, _: Sequence[Tensor]) -> Tensor:
    return emit.full((), str(len(spec.operands[0].shape)), "index")


_LOWER: dict[str, Lower] = {
    "arith.constant": _splat,
    "index.constant": _splat,
    "linalg.fill": _broadcast,
    "tensor.splat": _broadcast,
    "tensor.empty": _empty,
    "tensor.expand_shape": _reshape,
    "tensor.collapse_shape": _reshape,
    "tensor.reshape": _reshape,
    "tensor.cast": _identity,
    "tensor.bitcast": _bitcast,
    "tensor.extract_slice": _extract_slice,
    "tensor.insert_slice": _insert_slice,
    "tensor.pad": _pad,
    "tensor.concat": _concat,
    "tensor.extract": _extract,
    "tensor.insert": _insert_element,
    "tensor.from_elements": _from_elements,
    "tensor.dim": _dim,
    "tensor.rank": _rank,
}
