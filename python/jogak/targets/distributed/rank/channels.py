"""Small messages between ranks of one machine, over sockets of their own: whoever sends and receives does it himself.

A message of gloo asks the receiver whether it is ready, and goes through a thread on either side that waits for all
sockets; for a few KB that is most of what it takes, and these threads take the cores of ranks that compute. Here a
message lies in the kernel as soon as it is sent, and who waits for it sleeps until it is there.

Two ranks share one socket, which carries a stream each way. All ranks run one program, so both sides of a stream see
its messages in the same order.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from torch import Tensor

from .errors import CommunicationError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

SMALL = 1 << 17
"""Bytes of the largest message: the kernel takes it whole, so that it is on its way while its sender computes."""


@dataclass
class Message:
    """A tensor's memory that is being sent or received; `rest` is what is still to come.

    Raises:
        ValueError: its elements do not lie one behind the other.
    """

    tensor: Tensor
    rest: memoryview = field(init=False)

    def __post_init__(self) -> None:
        if not self.tensor.is_contiguous():
            raise ValueError("a message must be contiguous")
        size = self.tensor.nbytes
        self.rest = memoryview((ctypes.c_char * size).from_address(self.tensor.data_ptr())).cast("B")


@dataclass
class Channel:
    """The streams from and to another rank."""

    peer: int
    socket: socket.socket
    outgoing: deque[Message] = field(default_factory=deque)
    incoming: deque[Message] = field(default_factory=deque)

    def push(self) -> None:
        """Send what the kernel takes.

        Raises:
            RuntimeError: the other rank is gone.
        """
        self._go_on(self.outgoing, self.socket.send)

    def pull(self) -> None:
        """Receive what is there.

        Raises:
            RuntimeError: the other rank is gone.
        """
        self._go_on(self.incoming, self.socket.recv_into)

    def _go_on(self, messages: deque[Message], move: Callable[[memoryview], int]) -> None:
        while messages:
            message = messages[0]
            try:
                moved = move(message.rest)
            except BlockingIOError:
                return
            except OSError as error:
                raise RuntimeError(f"rank {self.peer} is gone: {error}") from error
            if not moved:
                raise RuntimeError(f"rank {self.peer} has closed its connection")
            message.rest = message.rest[moved:]
            if not message.rest:
                messages.popleft()


class Channels:
    """The channels of this rank, by the other rank.

    Args:
        channels: one for each other rank that this one exchanges messages with.
        timeout: seconds that a message may take.
    """

    def __init__(self, channels: Mapping[int, Channel], timeout: float) -> None:
        self._channels = channels
        self._timeout = timeout

    def send(self, tensor: Tensor, peer: int) -> Transfer | None:
        """Start to send a contiguous tensor, which must not change until it is sent; None where it does not go here."""
        channel = self._channel(tensor, peer)
        if channel is None:
            return None
        message = Message(tensor)
        channel.outgoing.append(message)
        channel.push()
        return Transfer(self, channel, message)

    def receive(self, tensor: Tensor, peer: int) -> Transfer | None:
        """Start to receive into a contiguous tensor; None where its sender does not use a channel."""
        channel = self._channel(tensor, peer)
        if channel is None:
            return None
        message = Message(tensor)
        channel.incoming.append(message)
        return Transfer(self, channel, message)

    def _channel(self, tensor: Tensor, peer: int) -> Channel | None:
        """What a message goes through: both sides decide by its size and its device, which are alike."""
        return self._channels.get(peer) if 0 < tensor.nbytes <= SMALL and tensor.device.type == "cpu" else None

    def finish(self, channel: Channel, message: Message) -> None:
        """Go on until a message is through, with all others as well: some rank may wait for what this one has to move.

        Raises:
            RuntimeError: a rank is gone, or does not come.
        """
        channel.push()
        channel.pull()
        deadline = time.monotonic() + self._timeout
        while message.rest:
            left = deadline - time.monotonic()
            if left < 0.0:
                raise RuntimeError(f"rank {channel.peer} has not answered for {self._timeout:g} s")
            self._move(left)

    def _move(self, seconds: float) -> None:
        """Wait until something comes, or the kernel takes more of what is to be sent, and go on with that."""
        poll, busy = select.poll(), {}
        for each in self._channels.values():
            if each.incoming or each.outgoing:
                wanted = (select.POLLIN if each.incoming else 0) | (select.POLLOUT if each.outgoing else 0)
                poll.register(each.socket, wanted)
                busy[each.socket.fileno()] = each
        for ready, _ in poll.poll(1e3 * seconds + 1.0):
            busy[ready].push()
            busy[ready].pull()


@dataclass(frozen=True)
class Transfer:
    """A message that is under way."""

    channels: Channels
    channel: Channel
    message: Message

    def wait(self) -> None:
        """Sleep until it is through.

        Raises:
            RuntimeError: the other rank is gone, or does not come.
        """
        if self.message.rest:
            self.channels.finish(self.channel, self.message)


def connect(rank: int, peers: Iterable[int], store: Store, timeout: float) -> Channels:
    """Channels to those ranks that are on this machine; every rank calls it.

    Args:
        peers: other ranks that this one exchanges messages with; they have it among theirs.
        store: where ranks tell each other their address; it has no other use.
        timeout: seconds that the others have for coming, and that a message may take.

    Raises:
        CommunicationError: one of them does not come.
    """
    keys = {peer: f"channel/{peer}" for peer in sorted(peers)}
    place = _machine()
    with socket.socket(socket.AF_UNIX) as listener:
        name = token_hex(16)
        if place:
            listener.bind(f"\0{name}")
            listener.listen(len(keys))
            listener.settimeout(timeout)
        try:
            store.set(f"channel/{rank}", f"{place} {name}")
            store.wait(list(keys.values()), timedelta(seconds=timeout))
            told = {peer: store.get(key).decode().rpartition(" ") for peer, key in keys.items()}
            near = {peer: name for peer, (there, _, name) in told.items() if place and there == place}
            sockets = {peer: _call(name, rank) for peer, name in near.items() if peer < rank}
            sockets |= dict(_answer(listener) for peer in near if peer > rank)
        except (OSError, RuntimeError, struct.error) as error:  # the last: a rank that died before it said who it is
            raise CommunicationError(f"rank {rank} cannot reach ranks on its machine: {error}") from error
    for each in sockets.values():
        each.setblocking(False)
    return Channels({peer: Channel(peer, each) for peer, each in sockets.items()}, timeout)


def _machine() -> str:
    """What two ranks have alike that can reach each other's sockets; empty where there are none such.

    Names of these sockets are those of a network namespace, and nobody else's files; only its user's processes count.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/net').readlink()} {os.getuid()}"
    except OSError:
        return ""


def _call(name: str, rank: int) -> socket.socket:
    """Connect to a rank, and tell it who calls."""
    made = socket.socket(socket.AF_UNIX)
    made.connect(f"\0{name}")
    made.sendall(struct.pack("!i", rank))
    return made


def _answer(listener: socket.socket) -> tuple[int, socket.socket]:
    """The next rank that calls, and its connection; processes of other users are none."""
    while True:
        made, _ = listener.accept()
        _, user, _ = struct.unpack("3i", made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        if user == os.getuid():
            made.settimeout(listener.gettimeout())
            return struct.unpack("!i", made.recv(4, socket.MSG_WAITALL))[0], made
        made.close()
