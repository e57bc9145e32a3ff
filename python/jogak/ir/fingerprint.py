"""Which ops are built alike: repeated layers are analysed once.

Reading what a `linalg.generic` says about itself (`jogak.ir.structured`) takes ten times as long as its fingerprint.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from torch_mlir import ir

_SIMPLE = {"tensor.expand_shape", "tensor.collapse_shape", "tensor.extract_slice", "tensor.insert_slice"}
"""Ops without a region that say nothing but by their attributes and types."""


@dataclass(frozen=True)
class Fingerprint:
    """What an op is, but for which values it reads.

    Attributes:
        key: its name, what it does, types and region. Ops of one context with equal keys are alike in all that is read
            from one op alone; scalars from outside count by the kind of op that makes them, not by their value.
        captured: the tensors that the region reads from outside, each once, in order.
    """

    key: Hashable
    captured: tuple[ir.Value, ...] = ()


def fingerprint(op: ir.Operation) -> Fingerprint | None:
    """The fingerprint of a `linalg.generic` without control flow, a reshape or a slice; None for other ops."""
    name, own = op.name, op.attributes
    types = tuple([value.type for value in op.operands]), tuple([value.type for value in op.results])
    if name in _SIMPLE:
        said = tuple([(each, own[each]) for each in own if not each.startswith("jogak.")])
        return Fingerprint((name, said, *types))
    captured: dict[ir.Value, int] = {}
    region = _region(op.regions[0].blocks[0], captured) if name == "linalg.generic" else None
    if region is None:
        return None
    key = name, own["indexing_maps"], own["iterator_types"], own["operandSegmentSizes"], *types, region
    return Fingerprint(key, tuple(captured))


def _region(block: ir.Block, captured: dict[ir.Value, int]) -> tuple[Hashable, ...] | None:
    """What a region does; None when it has control flow. Adds the tensors that it reads from outside."""
    numbers: dict[ir.Value, int] = {argument: number for number, argument in enumerate(block.arguments)}
    region = []
    for view in block.operations:
        inner = view.operation
        if len(inner.regions):
            return None
        read: list[Hashable] = []
        for value in inner.operands:
            number = numbers.get(value)
            read.append(_from_outside(value, captured) if number is None else number)
        made = []
        for result in inner.results:
            numbers[result] = len(numbers)
            made.append(result.type)
        attributes = inner.attributes
        given = tuple([(name, attributes[name]) for name in attributes]) if len(attributes) else ()
        region.append((inner.name, tuple(read), tuple(made), given))
    return tuple(region)


def _from_outside(value: ir.Value, captured: dict[ir.Value, int]) -> Hashable:
    if isinstance(value.type, ir.RankedTensorType):
        return "tensor", captured.setdefault(value, len(captured)), value.type
    return "scalar", "" if isinstance(value, ir.BlockArgument) else value.owner.name, value.type
