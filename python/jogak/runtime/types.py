"""Tensor types of a program, and what torch dtype stands for each element type."""

from __future__ import annotations

from math import prod
from typing import Literal, NamedTuple

import torch

from jogak.errors import JogakError

Precision = Literal["f64"]
"""`f64`: every floating-point tensor is held and computed in float64, whatever the program declares."""

_FLOATS = {"f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
_INTEGERS = {"i1": torch.bool, "i8": torch.int8, "i16": torch.int16, "i32": torch.int32, "i64": torch.int64}
_DTYPES = {**_FLOATS, **_INTEGERS, "index": torch.int64}
_BYTES = {"f64": 8, "f32": 4, "f16": 2, "bf16": 2, "i1": 1, "i8": 1, "i16": 2, "i32": 4, "i64": 8, "index": 8}


class TensorType(NamedTuple):
    """Static shape and element type as MLIR writes it (`f32`, `i64`, `index`); a scalar has shape ()."""

    shape: tuple[int, ...]
    element: str

    @property
    def bytes(self) -> int:
        """The size in bytes with the declared element type; an `i1` takes one byte."""
        return prod(self.shape) * _BYTES[self.element]

    def __str__(self) -> str:
        return f"tensor<{'x'.join([*map(str, self.shape), self.element])}>"


def is_float(element: str) -> bool:
    """Whether an element type is a floating-point type."""
    return element in _FLOATS


def bits(element: str) -> int:
    """The width of an integer element type in bits; `index` counts as 64."""
    return 64 if element == "index" else int(element[1:])


def dtype_of(element: str, precision: Precision | None = None) -> torch.dtype:
    """The torch dtype that holds an element type.

    Raises:
        JogakError: there is none (complex numbers, 4-bit integers, ...).
    """
    if precision == "f64" and element in _FLOATS:
        return torch.float64
    dtype = _DTYPES.get(element)
    if dtype is None:
        raise JogakError(
            f"element type {element!r} cannot be executed on the CPU", hint=f"supported: {', '.join(_DTYPES)}"
        )
    return dtype
