"""Processes like those of torchrun for tests of what they compute: torch is loaded once, and each rank is a fork.

A fork has the environment, the command line and the exit code that torchrun gives a rank; what torchrun itself does
(its table of failures, restarts) is not here. Starting torch takes longer than most such tests.
"""

from __future__ import annotations

import os
import runpy
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from torch._C._distributed_c10d import TCPStore

from jogak.targets.distributed.rank.faults import end_with_parent


def forked(processes: int, *words: str) -> list[str]:
    """The command for `jogak.targets.distributed.launch.torchrun`; `words` are a script and its options."""
    return [sys.executable, "-m", "jogak.testing.forked", str(processes), *words]


def main(arguments: Sequence[str]) -> int:
    """Run a script in several processes; when one fails, the others are ended."""
    processes, words = int(arguments[0]), arguments[1:]
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    shared |= {"TORCHELASTIC_USE_AGENT_STORE": "True"}  # rank 0 finds the store here
    pids = []
    for rank in range(processes):
        pid = os.fork()
        if not pid:
            end_with_parent()
            listener.close()
            os.environ.update(shared, RANK=str(rank), LOCAL_RANK=str(rank))
            _run(words)
        pids.append(pid)
    store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())
    failed = _wait(pids)
    del store  # not before the last rank has ended
    return int(failed)


def _run(words: Sequence[str]) -> NoReturn:
    """What `python SCRIPT WORDS` does, in this process."""
    code = 1
    try:
        sys.argv = list(words)
        sys.path[0] = str(Path(words[0]).resolve().parent)
        runpy.run_path(words[0], run_name="__main__")
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(pids: Sequence[int]) -> bool:
    """Whether one of the processes failed; all have ended then."""
    failed, left = False, set(pids)
    while left:
        pid, status = os.wait()
        left.discard(pid)
        if status and not failed:
            failed = True
            for other in left:
                os.kill(other, signal.SIGTERM)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
