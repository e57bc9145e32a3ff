"""Regions as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch_mlir import ir

from jogak.runtime.attributes import Cache
from jogak.runtime.spec import Attribute, Region, RegionOp

TERMINATORS = ("linalg.yield", "tm_tensor.yield", "tensor.yield")
_PLAIN = {
    "arith.addf", "arith.mulf", "arith.subf", "arith.divf", "arith.negf", "arith.extf", "arith.truncf", "arith.select",
    "arith.index_cast", "arith.maximumf", "tensor.extract", "arith.addi", "arith.sitofp", "math.exp", "math.sqrt",
}  # fmt: skip
"""Common ops whose attributes (fast-math flags, rounding) do not change what they compute here."""
IGNORED = {"fastmath", "overflowFlags", "nonNeg", "exact", "roundingmode"}


@dataclass
class _Reading:
    """The state of reading one region: the number of every value so far."""

    cache: Cache
    constants: Mapping[Any, str]
    next: int
    numbers: dict[Any, int] = field(default_factory=dict)
    captures: list[ir.Value] = field(default_factory=list)
    ops: list[RegionOp] = field(default_factory=list)


def read_region(block: ir.Block, cache: Cache, constants: Mapping[Any, str]) -> tuple[Region, list[ir.Value]]:
    """Read a single-block region on scalars.

    Args:
        block: the block.
        cache: for types and attributes.
        constants: the scalar constants outside of the region, as text: those that it reads become part of it.

    Returns:
        The region, and the values that it captures from outside, in the order of `Region.captures`.
    """
    arguments = list(block.arguments)
    reading = _Reading(cache, constants, len(arguments), {argument: k for k, argument in enumerate(arguments)})
    yields: tuple[int, ...] = ()
    for view in block.operations:
        op = view.operation
        operands = tuple([_number(reading, value) for value in op.operands])
        if op.name in TERMINATORS:
            yields = operands
            continue
        results = list(op.results)
        elements = tuple([cache.type(result.type).element for result in results])
        attributes = () if op.name in _PLAIN else _attributes(cache, op)
        reading.ops.append(RegionOp(op.name, operands, attributes, elements))
        for result in results:
            reading.numbers[result] = reading.next
            reading.next += 1
    types = tuple(cache.type(argument.type).element for argument in arguments)
    captures = tuple(cache.type(value.type) for value in reading.captures)
    return Region(types, captures, tuple(reading.ops), yields), reading.captures


def _attributes(cache: Cache, op: ir.Operation) -> tuple[tuple[str, Attribute], ...]:
    if op.name == "arith.constant":
        attribute = op.attributes["value"]
        return (("value", str(cache.attribute(attribute))),)
    return tuple(pair for pair in cache.attributes(op) if pair[0] not in IGNORED)


def _number(reading: _Reading, value: ir.Value) -> int:
    """The number of a value; one from outside becomes a capture, or an op when it is a constant."""
    found = reading.numbers.get(value)
    if found is not None:
        return found
    constant = reading.constants.get(value)
    if constant is None:
        reading.captures.append(value)
        number = -len(reading.captures)
    else:
        element = reading.cache.type(value.type).element
        reading.ops.append(RegionOp("arith.constant", (), (("value", constant),), (element,)))
        number = reading.next
        reading.next += 1
    reading.numbers[value] = number
    return number
