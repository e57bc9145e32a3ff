"""The collectives of a per-device program for people: what each is for, and where in the user's source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from torch_mlir import ir

from jogak.ir.diagnostics import SourceLocation, source_location
from jogak.ir.structured import RESHAPES, shape_of
from jogak.memory.reading import bytes_of
from jogak.partition.optimize.collectives import cause_of
from jogak.partition.prices import Collective, collectives_of
from jogak.report.families import family, template_of
from jogak.sharding.mesh import Mesh
from jogak.text import size

_CONCAT = "tensor.concat"
_SLICE = "tensor.extract_slice"


@dataclass(frozen=True)
class Alike:
    """What collectives of repeated layers have in common.

    Attributes:
        template: their module path without layer numbers; empty for a bucket of several values.
        place: the user's line, `file:line`; empty where the collective belongs to none (an optimizer, a loss by name).
        kind: which collective.
        axes: its mesh axes.
        bytes: of one of them.
        cause: why it is there.
        part: `forward` or `backward` in a training step.
        members: for a bucket, its values by module path.
    """

    template: str
    place: str
    kind: str
    axes: str
    bytes: int
    cause: str
    part: str
    members: tuple[str, ...] = ()


def alike(function: ir.Operation, mesh: Mesh, roles: Sequence[str]) -> dict[Alike, list[str]]:
    """The module paths of the collectives that are alike, in program order.

    Args:
        function: `@main` of one device.
        mesh: its mesh.
        roles: of its results.
    """
    before = _needed_for_loss(function, roles)
    groups: dict[Alike, list[str]] = {}
    for each in collectives_of(function, mesh):
        location = source_location(each.op.location)
        axes = ",".join(mesh.told(each.axes))
        groups.setdefault(_described(each, axes, location, before), []).append(location.scope)
    return groups


def _described(each: Collective, axes: str, location: SourceLocation, before: set[ir.Operation] | None) -> Alike:
    cause, pieces = cause_of(each.op), _pieces(each.op)
    makers = [_maker(piece) for piece in pieces] if pieces else [each.op]
    part = "" if before is None else " and ".join(sorted({_part(maker, before) for maker in makers}, reverse=True))
    if pieces:
        return Alike("", "", each.kind, axes, each.bytes, cause.partition(": ")[0], part, tuple(_members(pieces)))
    return Alike(template_of(location.scope), _place(location), each.kind, axes, each.bytes, cause, part)


def _place(location: SourceLocation) -> str:
    return f"{location.file}:{location.line}" if location.file else ""


def _part(op: ir.Operation | None, before: set[ir.Operation]) -> str:
    return "forward" if op in before else "backward"


def _pieces(op: ir.Operation) -> list[ir.Value]:
    """The values that a bucket holds side by side; none for another collective."""
    operand = op.operands[0]
    packed = not isinstance(operand, ir.BlockArgument) and operand.owner.name == _CONCAT
    return list(operand.owner.operands) if packed and "in one bucket" in cause_of(op) else []


def _maker(value: ir.Value) -> ir.Operation | None:
    """The op that made a value, behind reshapes; None for an argument."""
    while not isinstance(value, ir.BlockArgument) and value.owner.name in RESHAPES:
        value = value.owner.operands[0]
    return None if isinstance(value, ir.BlockArgument) else value.owner


def _members(pieces: Sequence[ir.Value]) -> Iterator[str]:
    """One line for pieces of repeated layers: module paths, size, the user's line."""
    groups: dict[tuple[str, str, int], list[str]] = {}
    for piece in pieces:
        maker = _maker(piece)
        location = source_location(maker.location) if maker is not None else SourceLocation()
        key = (template_of(location.scope), _place(location), bytes_of(piece))
        groups.setdefault(key, []).append(location.scope)
    for (_, place, count), scopes in groups.items():
        times = f"{len(scopes)} of {size(count)}" if len(scopes) > 1 else size(count)
        yield ", ".join(filter(None, [family(scopes) or "the model", times, place and f"at {place}"]))


def _needed_for_loss(function: ir.Operation, roles: Sequence[str]) -> set[ir.Operation] | None:
    """The ops that the loss needs; None in a program without a loss."""
    terminator = list(function.regions[0].blocks[0].operations)[-1].operation
    waiting = [value for value, role in zip(terminator.operands, roles, strict=True) if role == "loss"]
    if not waiting:
        return None
    found: set[ir.Operation] = set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, ir.BlockArgument) or value.owner in found:
            continue
        found.add(value.owner)
        waiting += _sources(value.owner)
    return found


def _sources(op: ir.Operation) -> list[ir.Value]:
    """What a value was made from; a slice of a bucket from one of its pieces only."""
    if op.name == _SLICE and not isinstance(op.operands[0], ir.BlockArgument):
        bucket = op.operands[0].owner
        pieces = _pieces(bucket) if bucket.name.startswith("shard.") else []
        if pieces:
            at = list(ir.DenseI64ArrayAttr(op.attributes["static_offsets"]))[-1]
            ends = accumulate(shape_of(piece)[-1] for piece in pieces)
            return [next(piece for piece, end in zip(pieces, ends, strict=True) if at < end)]
    return list(op.operands)
