"""One op of a program as plain, hashable data: what a kernel is built from, and the key it is cached by.

A `linalg` op is its loops, its indexing maps and its region. Values inside a region are numbered: block arguments from
0, then the results of the region's ops in order; values captured from outside count -1, -2, ... Constants are text, so
that 0.0 and -0.0, 1 and 1.0, or two NaNs never mix up two kernels.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from jogak.runtime.types import TensorType, is_float


class Linear(NamedTuple):
    """`sum(coefficient * d_loop) + constant`; `terms` is sorted by loop, without zero coefficients."""

    terms: tuple[tuple[int, int], ...] = ()
    constant: int = 0

    @property
    def loop(self) -> int | None:
        """The loop of a plain `d_i`, otherwise None."""
        if self.constant == 0 and len(self.terms) == 1 and self.terms[0][1] == 1:
            return self.terms[0][0]
        return None


class Compound(NamedTuple):
    """An affine expression that is not linear; `op` is add, mul, floordiv, ceildiv or mod."""

    op: str
    left: Expr
    right: Expr


Expr = Linear | Compound
IndexingMap = tuple[Expr, ...]
Attribute = object
"""Attribute values are nested tuples of int, bool and str."""


class RegionOp(NamedTuple):
    """One op inside a region, on scalars.

    Attributes:
        name: the op's name.
        operands: numbers of the values it reads.
        attributes: sorted (name, value) pairs.
        results: element types.
    """

    name: str
    operands: tuple[int, ...]
    attributes: tuple[tuple[str, Attribute], ...]
    results: tuple[str, ...]

    def attribute(self, name: str) -> Attribute:
        """The value of an attribute; None when it is not there."""
        return next((value for key, value in self.attributes if key == name), None)


class Region(NamedTuple):
    """A single block on scalars: element types of its arguments, types of what it captures, its ops, what it yields."""

    arguments: tuple[str, ...]
    captures: tuple[TensorType, ...]
    ops: tuple[RegionOp, ...]
    yields: tuple[int, ...]

    def uses(self, value: int) -> bool:
        """Whether anything in the region reads a value."""
        return value in self.yields or any(value in op.operands for op in self.ops)


class LinalgSpec(NamedTuple):
    """A structured op.

    Attributes:
        sizes: iterations of each loop.
        parallel: for each loop whether it is parallel; the others are reductions.
        maps: for each operand the map from loops to its dimensions.
        inputs: number of inputs; the operands behind them are the outputs.
        operands: the type of each operand.
        splats: for each operand the constant that all its elements have, as text, or None.
        region: the computation of one iteration.
    """

    sizes: tuple[int, ...]
    parallel: tuple[bool, ...]
    maps: tuple[IndexingMap, ...]
    inputs: int
    operands: tuple[TensorType, ...]
    splats: tuple[str | None, ...]
    region: Region

    @property
    def name(self) -> str:
        return "linalg.generic"

    @property
    def reduction_loops(self) -> tuple[int, ...]:
        return tuple(loop for loop, parallel in enumerate(self.parallel) if not parallel)

    def reads(self, operand: int) -> bool:
        """Whether the values of an operand matter: an output that is overwritten everywhere is not read."""
        if self.region.uses(operand):
            return True
        return operand >= self.inputs and not covers(self.maps[operand], self.operands[operand].shape, self.sizes)

    def tensors(self) -> tuple[int, ...]:
        """The operands that the kernel takes as tensors, in order; captured values follow them."""
        return tuple(k for k, splat in enumerate(self.splats) if splat is None and self.reads(k))


class TensorSpec(NamedTuple):
    """An op on whole tensors: `tensor.*`, `linalg.fill`, constants, scalar arithmetic outside of regions."""

    name: str
    attributes: tuple[tuple[str, Attribute], ...]
    operands: tuple[TensorType, ...]
    results: tuple[TensorType, ...]

    def attribute(self, name: str) -> Attribute:
        """The value of an attribute; None when it is not there."""
        return next((value for key, value in self.attributes if key == name), None)


class RegionSpec(NamedTuple):
    """A `tm_tensor` op: whole tensors in and out, and a region that combines or compares elements."""

    name: str
    attributes: tuple[tuple[str, Attribute], ...]
    inputs: int
    operands: tuple[TensorType, ...]
    results: tuple[TensorType, ...]
    region: Region

    def attribute(self, name: str) -> Attribute:
        """The value of an attribute; None when it is not there."""
        return next((value for key, value in self.attributes if key == name), None)


class Margin(NamedTuple):
    """A dimension: `low` zeros, then `size` elements `spread` apart, then `high` zeros."""

    size: int
    spread: int = 1
    low: int = 0
    high: int = 0

    @property
    def extent(self) -> int:
        """Its size with the zeros."""
        return self.low + (self.size - 1) * self.spread + 1 + self.high


class ConvolutionSpec(NamedTuple):
    """A convolution one of whose operands is read with zeros around or between its elements.

    Attributes:
        spec: the convolution of the tensor with its zeros.
        at: number of the kernel's operand.
        margins: how its dimensions are made.
    """

    spec: LinalgSpec
    at: int
    margins: tuple[Margin, ...]

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def results(self) -> tuple[TensorType, ...]:
        return self.spec.operands[self.spec.inputs :]


KernelSpec = LinalgSpec | TensorSpec | RegionSpec | ConvolutionSpec


def covers(map_: IndexingMap, shape: tuple[int, ...], sizes: tuple[int, ...]) -> bool:
    """Whether a map reaches every element of a tensor, each once per combination of the other loops."""
    if is_projection(map_, shape):
        loops = [expr.loop for expr in map_ if isinstance(expr, Linear)]
        return prod(sizes[loop] for loop in loops if loop is not None) == prod(shape)
    return False


def is_projection(map_: IndexingMap, shape: tuple[int, ...]) -> bool:
    """Whether every dimension is a loop of its own, or the only element of a dimension of size 1."""
    seen: set[int] = set()
    for expr, size in zip(map_, shape, strict=True):
        if not isinstance(expr, Linear):
            return False
        if expr.loop is None:
            if expr.terms or expr.constant or size != 1:
                return False
        elif expr.loop in seen:
            return False
        else:
            seen.add(expr.loop)
    return True


def constant_text(value: float | int | bool) -> str:
    """The text of a constant: exact, and different for different values."""
    return value.hex() if isinstance(value, float) else str(int(value))


def constant_value(text: str, element: str) -> float | int | bool:
    """The number that `constant_text` wrote, as Python's type for the element type."""
    if is_float(element):
        return float.fromhex(text)
    return bool(int(text)) if element == "i1" else int(text)


def loop_sizes(
    maps: tuple[IndexingMap, ...], shapes: tuple[tuple[int, ...], ...], loops: int
) -> tuple[int, ...] | None:
    """The iterations of each loop, from dimensions that are exactly one loop; None when a loop has none."""
    sizes: dict[int, int] = {}
    for map_, shape in zip(maps, shapes, strict=True):
        for expr, size in zip(map_, shape, strict=True):
            if isinstance(expr, Linear) and expr.loop is not None:
                sizes[expr.loop] = size
    return tuple(sizes[loop] for loop in range(loops)) if len(sizes) == loops else None
