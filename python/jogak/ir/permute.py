"""Permutes: a `shard.send` and the `shard.recv` of what it leaves, whose peers follow from the device's position.

Every device of a group sends its piece to one device and receives one. The two ops are one transfer: the received
piece takes the name of what was sent, and peers are evaluated for every position instead of computed at run time.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch_mlir import ir

from jogak.errors import JogakError
from jogak.sharding.mesh import Mesh

SEND, RECEIVE = "shard.send", "shard.recv"
_DYNAMIC = -(1 << 63)


def is_outgoing(op: ir.Operation) -> bool:
    """Whether an op is the sending half of a permute: only a receive reads what it leaves."""
    if op.name != SEND:
        return False
    uses = list(op.results[0].uses)
    return len(uses) == 1 and uses[0].owner.name == RECEIVE and uses[0].operand_number == 0


def is_permute(op: ir.Operation) -> bool:
    """Whether an op is the receiving half of a permute."""
    if op.name != RECEIVE or isinstance(op.operands[0], ir.BlockArgument):
        return False
    maker = op.operands[0].owner
    return maker.name == SEND and is_outgoing(maker) and maker.attributes["grid_axes"] == op.attributes["grid_axes"]


def sources(op: ir.Operation, mesh: Mesh) -> tuple[int, ...]:
    """From which position each position of a group receives.

    Args:
        op: the receiving half of a permute.

    Raises:
        JogakError: a peer depends on more than the position, or what is sent and what is received do not match.
    """
    axes = tuple(mesh.axes[int(number)] for number in op.attributes["grid_axes"])
    places = [mesh.coordinates(device) for device in mesh.group(0, axes)]
    received = tuple(_peer(op, "source", axes, place, mesh) for place in places)
    sender = op.operands[0].owner
    sent = [_peer(sender, "destination", axes, place, mesh) for place in places]
    if any(sent[source] != position for position, source in enumerate(received)):
        raise JogakError("a permute receives from other devices than those that send", hint="match send and recv")
    return received


def _peer(op: ir.Operation, name: str, axes: tuple[str, ...], place: Mapping[str, int], mesh: Mesh) -> int:
    """The position in the group that an op names on one device."""
    computed = iter(list(op.operands)[1:])
    position = 0
    for axis, index in zip(axes, ir.DenseI64ArrayAttr(op.attributes[name]), strict=True):
        held = _evaluated(next(computed), place, mesh) if index == _DYNAMIC else index
        position = position * mesh.sizes[axis] + held
    return position


def _evaluated(value: ir.Value, place: Mapping[str, int], mesh: Mesh) -> int:
    """An index on the device at `place`."""
    if not isinstance(value, ir.BlockArgument):
        op = value.owner
        if op.name == "arith.constant":
            return int(ir.IntegerAttr(op.attributes["value"]).value)
        if op.name == "shard.process_multi_index":
            numbers = list(op.attributes["axes"]) if "axes" in op.attributes else []
            axis = ir.OpResult(value).result_number
            return place[mesh.axes[int(numbers[axis]) if numbers else axis]]
        if op.name in ("arith.addi", "arith.muli", "arith.divui", "arith.remui"):
            a, b = (_evaluated(operand, place, mesh) for operand in op.operands)
            return {"addi": a + b, "muli": a * b, "divui": a // b if b else 0, "remui": a % b if b else 0}[op.name[6:]]
    raise JogakError(
        f"the peer of a transfer is computed from more than the position of a device: {value}",
        hint="use constants, shard.process_multi_index, addi, muli, divui and remui",
    )
