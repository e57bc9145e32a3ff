"""How a rank ends when something is wrong: in bounded time, with a message that names the rank and the cause."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import signal
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import torch
from torch.distributed.distributed_c10d import Store

from .errors import RunError

FAILED = 1
_PATIENCE = 2.0
"""Seconds that a rank waits for news of the others after a collective failed."""
_PARENT_DIED = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


def fingerprint(folder: Path) -> dict[str, str]:
    """What must be the same on every rank: the program, and what runs it."""
    files = [folder / name for name in ("device.py", "manifest.json", "constants.safetensors")]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes() if path.is_file() else b"missing")
    return {
        "plan": digest.hexdigest()[:16],
        "torch": torch.__version__,
        "machine": f"{platform.machine()} {sys.byteorder}",
    }


def agree(store: Store, rank: int, world: int, mine: Mapping[str, str], timeout: float) -> None:
    """Compare with what the other ranks have, before the first collective.

    Raises:
        RunError: a rank has another plan or torch version, or did not come within the timeout.
    """
    text = "\n".join(f"{key}={value}" for key, value in mine.items())
    store.set(f"fingerprint/{rank}", text)
    for other in range(world):
        key = f"fingerprint/{other}"
        try:
            store.wait([key], timedelta(seconds=timeout))
        except RuntimeError:
            raise RunError(f"rank {other} did not start within {timeout:g} seconds") from None
        theirs = dict(line.split("=", 1) for line in store.get(key).decode().splitlines())
        for name, value in mine.items():
            if theirs.get(name) != value:
                raise RunError(f"rank {other} has {name} {theirs.get(name)}, rank {rank} has {value}")


def others_said(store: Store, rank: int, world: int) -> str:
    """What the other ranks told before they ended, and which of them told nothing."""
    told, silent = [], []
    try:
        store.set(f"failed/{rank}", "")
        time.sleep(_PATIENCE)
        for other in range(world):
            if not store.check([f"failed/{other}"]):
                silent.append(str(other))
            elif text := store.get(f"failed/{other}").decode():
                told.append(f"rank {other} failed: {text}")
    except RuntimeError:
        return "the rendezvous is gone too"
    if not told and silent:
        told.append(f"no word from rank {', '.join(silent)}: dead, hanging or far behind")
    return "; ".join(told)


def fail(rank: int, message: str) -> NoReturn:
    """End with a message; without the clean-up that could wait for other ranks."""
    print(f"jogak: rank {rank}: {message}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(FAILED)


def end_with_parent() -> None:
    """Let the kernel end this process when the one that started it is gone (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DIED, signal.SIGKILL)
