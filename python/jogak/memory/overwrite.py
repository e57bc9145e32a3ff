"""Which operands an op may write its result over: destination-passing style, and arithmetic in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch_mlir import ir

from jogak.cost.element import element_size
from jogak.ir.structured import Structured, element_of, shape_of

_OUTPUTS = {"tm_tensor.scatter", "tm_tensor.scan", "tm_tensor.sort", "tm_tensor.topk"}
"""Ops with output operands, whose results lie where these lay."""
_INTO = {"tensor.insert_slice": 1, "tensor.insert": 1, "shard.all_reduce": 0}
"""Ops whose result is one operand, changed, by the number of that operand."""


class Operand(NamedTuple):
    """Something that an op reads at run time.

    Attributes:
        value: what it reads.
        source: what `value` is a view of; itself if it is none.
    """

    value: ir.Value
    source: ir.Value


def overwritable(
    op: ir.Operation, form: Structured | None, number: int, operands: Sequence[Operand], updates: ir.Value | None
) -> list[ir.Value]:
    """The operands, best first, in whose memory a result may come to lie if nothing reads them afterwards.

    Args:
        form: the op, when it is a `linalg.generic`.
        number: of the result.
        operands: everything that the op reads.
        updates: the argument whose next value the result is: no other argument may be overwritten.
    """
    result = op.results[number]
    found = [
        operand
        for operand in _candidates(op, form, number, operands)
        if _same_size(operand, result)
        and (not isinstance(operand.source, ir.BlockArgument) or _is(operand.source, updates))
    ]
    found.sort(key=lambda operand: not _is(operand.source, updates))
    return list(dict.fromkeys(operand.value for operand in found))


def _is(value: ir.Value, other: ir.Value | None) -> bool:
    return other is not None and bool(value == other)


def _same_size(operand: Operand, result: ir.Value) -> bool:
    """Whether an operand is the whole of its memory, and the result takes as much, element by element."""
    width = element_size(element_of(result))
    whole = [_elements(operand.value), _elements(operand.source)]
    return whole == [_elements(result)] * 2 and width == element_size(element_of(operand.source))


def _elements(value: ir.Value) -> int:
    count = 1
    for extent in shape_of(value):
        count *= extent
    return count


def _candidates(
    op: ir.Operation, form: Structured | None, number: int, operands: Sequence[Operand]
) -> Iterator[Operand]:
    if form is not None:
        yield from _of_generic(form, number, operands)
        return
    if op.name in _OUTPUTS:
        segments = list(op.attributes["operandSegmentSizes"])
        target = op.operands[int(segments[0]) + number]
    elif op.name in _INTO:
        target = op.operands[_INTO[op.name]]
    else:
        return
    same = [operand for operand in operands if operand.value == target]
    if same and sum(operand.source == same[0].source for operand in operands) == 1:
        yield same[0]


def _of_generic(form: Structured, number: int, operands: Sequence[Operand]) -> Iterator[Operand]:
    """The initial value of the result, or an input of a purely parallel op that is read element by element like it.

    Every operand with that memory must be read so: a second one at other places would see new values for old ones.
    """
    output = form.inputs + number
    map_, shape = form.maps[output], shape_of(form.operands[output])
    captured = set(form.captures)
    sources = {operand.value: operand.source for operand in operands}
    elementwise = all(form.parallel)
    for position in (output, *range(form.inputs)):
        value = form.operands[position]
        if value not in sources or None in form.maps[position] or (position != output and not elementwise):
            continue
        alike = all(
            form.maps[k] == map_ and shape_of(other) == shape and (elementwise or k == output)
            for k, other in enumerate(form.operands)
            if other in sources and sources[other] == sources[value]
        )
        if alike and not any(table in sources and sources[table] == sources[value] for table in captured):
            yield Operand(value, sources[value])
