"""MLIR attributes, types and affine maps as plain, hashable values."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_mlir import ir

from jogak.errors import JogakError
from jogak.runtime.spec import Attribute, Compound, Expr, IndexingMap, Linear, constant_text
from jogak.runtime.types import TensorType, dtype_of

_ARRAYS = (
    ir.DenseI64ArrayAttr, ir.DenseI32ArrayAttr, ir.DenseI16ArrayAttr, ir.DenseI8ArrayAttr, ir.DenseBoolArrayAttr,
)  # fmt: skip
_COMPOUND = (
    (ir.AffineAddExpr, "add"), (ir.AffineMulExpr, "mul"), (ir.AffineModExpr, "mod"),
    (ir.AffineFloorDivExpr, "floordiv"), (ir.AffineCeilDivExpr, "ceildiv"),
)  # fmt: skip


class Cache:
    """Types and attributes are unique in their context: each is read once."""

    def __init__(self) -> None:
        self._types: dict[Any, TensorType] = {}
        self._attributes: dict[Any, Attribute] = {}

    def type(self, type_: ir.Type) -> TensorType:
        """The plain form of a type.

        Raises:
            JogakError: it is not a ranked tensor of static shape, nor a scalar.
        """
        found = self._types.get(type_)
        if found is None:
            found = self._types[type_] = read_type(type_)
        return found

    def attribute(self, attribute: ir.Attribute) -> Attribute:
        """The plain form of an attribute."""
        found = self._attributes.get(attribute)
        if found is None:
            found = self._attributes[attribute] = read_attribute(attribute)
        return found

    def attributes(self, op: ir.Operation) -> tuple[tuple[str, Attribute], ...]:
        """All attributes that belong to the op itself, sorted by name; discardable ones have a dialect prefix."""
        return tuple(sorted((name, self.attribute(op.attributes[name])) for name in op.attributes if "." not in name))


def read_type(type_: ir.Type) -> TensorType:
    """Read a ranked tensor type or a scalar type.

    Raises:
        JogakError: the type is something else, or has a dynamic dimension.
    """
    if not isinstance(type_, ir.ShapedType):
        return TensorType((), str(type_))
    if not isinstance(type_, ir.RankedTensorType) or not type_.has_static_shape:
        raise JogakError(f"a value of type {type_} cannot be executed", hint="only tensors of static shape can")
    return TensorType(tuple(type_.shape), str(type_.element_type))


def read_attribute(attribute: ir.Attribute) -> Attribute:
    """Read an attribute as nested tuples of int, bool and str; numbers that are constants become text."""
    if isinstance(attribute, ir.BoolAttr | ir.IntegerAttr):
        return int(attribute.value)
    if isinstance(attribute, ir.FloatAttr):
        return constant_text(float(attribute.value))
    if isinstance(attribute, _ARRAYS):
        return tuple(int(item) for item in attribute)
    if isinstance(attribute, ir.ArrayAttr):
        return tuple(read_attribute(item) for item in attribute)
    if isinstance(attribute, ir.AffineMapAttr):
        return read_map(attribute.value)
    if isinstance(attribute, ir.StringAttr | ir.FlatSymbolRefAttr):
        return str(attribute.value)
    return str(attribute)


def read_map(map_: ir.AffineMap) -> IndexingMap:
    """Read every result of an affine map."""
    return tuple(read_expr(expr) for expr in map_.results)


def read_expr(expr: ir.AffineExpr) -> Expr:
    """Read an affine expression, linear where it is.

    Raises:
        JogakError: it has a symbol.
    """
    if isinstance(expr, ir.AffineDimExpr):
        return Linear(((expr.position, 1),))
    if isinstance(expr, ir.AffineConstantExpr):
        return Linear((), expr.value)
    for kind, name in _COMPOUND:
        if isinstance(expr, kind):
            return _combine(name, read_expr(expr.lhs), read_expr(expr.rhs))
    raise JogakError(f"the affine expression {expr} has a symbol", hint="indexing maps may only name loops")


def _combine(op: str, left: Expr, right: Expr) -> Expr:
    if isinstance(left, Linear) and isinstance(right, Linear):
        if op == "add":
            return _add(left, right)
        if op == "mul" and not (left.terms and right.terms):
            return _scale(left, right.constant) if not right.terms else _scale(right, left.constant)
    return Compound(op, left, right)


def _add(left: Linear, right: Linear) -> Linear:
    terms = dict(left.terms)
    for loop, coefficient in right.terms:
        terms[loop] = terms.get(loop, 0) + coefficient
    return Linear(tuple(sorted((loop, c) for loop, c in terms.items() if c)), left.constant + right.constant)


def _scale(expr: Linear, factor: int) -> Linear:
    return Linear(tuple((loop, c * factor) for loop, c in expr.terms if c * factor), expr.constant * factor)


def read_dense(attribute: ir.Attribute, type_: TensorType) -> Tensor:
    """The elements of a constant, in the dtype that its type declares.

    Raises:
        JogakError: the constant's elements are not in the module, or cannot be read.
    """
    dtype = dtype_of(type_.element)
    try:
        if dtype == torch.bfloat16:
            return _from_text(str(attribute)).reshape(type_.shape)
        return torch.from_numpy(np.array(attribute)).to(dtype).reshape(type_.shape)
    except (TypeError, ValueError, RuntimeError) as error:
        raise JogakError(
            f"the elements of a constant of type {type_} cannot be read: {error}",
            hint="pass large constants as arguments of @main",
        ) from error


def _from_text(text: str) -> Tensor:
    """The elements of a bf16 constant, which numpy has no type for; MLIR writes long ones as a string of bytes."""
    blob = re.search(r'"0x([0-9A-Fa-f]*)"', text)
    if blob:
        return torch.frombuffer(bytearray.fromhex(blob[1]), dtype=torch.bfloat16)
    elements = re.findall(r"0x[0-9A-Fa-f]+|[-+]?\d[\d.]*(?:[eE][-+]?\d+)?", text.partition(":")[0])
    return torch.stack([_bf16(element) for element in elements])


def _bf16(text: str) -> Tensor:
    """One element: a decimal number, or the bits of one that has no decimal form."""
    if text.startswith("0x"):
        return torch.tensor(int(text, 16), dtype=torch.uint16).view(torch.bfloat16)
    return torch.tensor(float(text), dtype=torch.bfloat16)
