"""Signs of life: a rank that hangs is found before a collective that waits for it reaches its timeout."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta

from torch._C._distributed_c10d import TCPStore

from . import faults

SILENCE = 20.0
"""Seconds without a sign of life after which a rank is taken to hang."""
_BEAT = 2.0
_ENDED = "ended"


@dataclass
class Watch:
    """What the last sign of each other rank was, and when it came.

    Attributes:
        silence: seconds that are too long.
        seen: by rank the sign and the time of its coming.
    """

    silence: float
    seen: dict[int, tuple[str, float]] = field(default_factory=dict)

    def note(self, rank: int, sign: str, now: float) -> float:
        """Seconds since a rank's sign has changed; 0 for one that has ended."""
        before = self.seen.get(rank)
        if before is None or before[0] != sign or sign == _ENDED:
            self.seen[rank] = sign, now
            return 0.0
        return now - before[1]


class Pulse(threading.Thread):
    """Shows that this process lives, and ends it when another one does not.

    It has a connection of its own: a process that waits at the store could not show its life on the same one.

    Args:
        rank: of this process.
        world: how many there are.
    """

    def __init__(self, rank: int, world: int) -> None:
        super().__init__(daemon=True, name="pulse")
        self._rank, self._world = rank, world
        self._ended = threading.Event()
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        self._store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=SILENCE))
        self._watch = Watch(SILENCE)
        self._me = f"{os.getpid()} {socket.gethostname()}"
        self._show(f"0 {self._me}")  # a rank that hangs before its first beat is missed, too

    def run(self) -> None:
        beat = 0
        try:
            while not self._ended.wait(_BEAT):
                beat += 1
                self._show(f"{beat} {self._me}")
                self._look()
            self._show(_ENDED)
        except RuntimeError:  # the rendezvous is gone, and with it the process that started this one
            return

    def end(self) -> None:
        """Show that this rank is done, so that the others do not miss it."""
        self._ended.set()
        self.join(_BEAT)

    def _show(self, sign: str) -> None:
        self._store.set(f"alive/{self._rank}", sign)

    def _look(self) -> None:
        for other in range(self._world):
            key = f"alive/{other}"
            if other == self._rank or not self._store.check([key]):
                continue
            sign = self._store.get(key).decode()
            silent = self._watch.note(other, sign, time.monotonic())
            if silent > SILENCE:
                _end_hanging(sign)
                faults.fail(self._rank, f"rank {other} shows no life for {silent:.0f} s: it hangs, or its machine does")


def _end_hanging(sign: str) -> None:
    """End a hanging process of this machine: torchrun's request to end would not reach it."""
    _, pid, host = sign.split(" ", 2)
    if host == socket.gethostname():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except OSError:
            return
