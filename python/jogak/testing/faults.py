"""Killing one of several processes of a run at a random moment, and looking at what is left."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from jogak.targets.distributed.launch import command, end, environment, explain
from jogak.targets.distributed.rank.checkpoint import Checkpoint, latest

_STARTED = re.compile(r"step \d+")
_LIMIT = 60.0


@dataclass(frozen=True)
class Ending:
    """How a run ended in which a rank was killed or stopped.

    Attributes:
        rank: that was hit.
        seconds: until every process had ended.
        named: whether the message names that rank.
        orphans: processes of the run that were still alive then.
        steps: of the newest checkpoint that can be read; -1 where there is none although one was written.
        message: what the user is told.
    """

    rank: int
    seconds: float
    named: bool
    orphans: int
    steps: int
    message: str


def hit(folder: Path, processes: int, seed: int, *, kind: int = signal.SIGKILL, timeout: float = 5.0) -> Ending:
    """Start a training run that saves after every step, send a signal to one rank, and wait for the end.

    Args:
        folder: output of `jogak compile --target torch`.
        processes: of the mesh.
        seed: chooses the rank and the moment.
        kind: SIGKILL, or SIGSTOP for a process that hangs.
        timeout: seconds that a collective may take.
    """
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="jogak-faults-") as name:
        work = Path(name)
        words = ["--steps", "1000000", "--checkpoint", str(work / "saved"), "--save-every", "1"]
        words = command(folder, processes, [*words, "--timeout", f"{timeout:g}"])
        with (work / "out").open("w") as out, (work / "err").open("w") as err:
            run = subprocess.Popen(words, stdout=out, stderr=err, env=environment(), start_new_session=True)
        try:
            ranks = _wait_for_steps(run, work / "out", processes)
            time.sleep(draw.uniform(0.0, 1.0))
            rank = draw.randrange(processes)
            start = time.monotonic()
            os.kill(ranks[rank], kind)
            _wait(run)
            seconds = time.monotonic() - start
        finally:
            end(run)
        orphans = sum(_alive(pid) for pid in ranks.values())
        message = explain((work / "err").read_text(encoding="utf-8"))
        return Ending(rank, seconds, f"rank {rank}" in message, orphans, _usable(work / "saved"), message)


def _wait(run: subprocess.Popen[bytes]) -> None:
    try:
        run.wait(_LIMIT)
    except subprocess.TimeoutExpired:
        run.kill()
        run.wait()


def _wait_for_steps(run: subprocess.Popen[bytes], out: Path, processes: int) -> dict[int, int]:
    """The process of each rank, once the first step is done."""
    limit = time.monotonic() + _LIMIT
    while not _STARTED.search(out.read_text(encoding="utf-8")):
        if run.poll() is not None or time.monotonic() > limit:
            _wait(run)
            raise AssertionError(f"the run did not start: {out.with_name('err').read_text(encoding='utf-8')}")
        time.sleep(0.05)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text(encoding="utf-8").split()
    ranks = {int(_variable(int(pid), "RANK")): int(pid) for pid in children if _variable(int(pid), "RANK")}
    assert len(ranks) == processes, ranks
    return ranks


def _variable(pid: int, name: str) -> str:
    content = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return next((entry.partition("=")[2] for entry in content if entry.startswith(f"{name}=")), "")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _usable(folder: Path) -> int:
    """The number of steps of the newest checkpoint, every value of which can be read."""
    path = latest(folder)
    if path is None:
        return 0 if not any(folder.glob("step-*")) else -1
    with Checkpoint(path) as source:
        for name in source:
            source.whole(name)
        return source.steps


def main() -> int:
    """Print a line for each of 20 kills: `python bench/faults.py FOLDER PROCESSES [COUNT]`."""
    folder, processes, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 20
    good = 0
    for seed in range(count):
        ending = hit(folder, processes, seed)
        good += ending.seconds <= 30 and ending.named and not ending.orphans and ending.steps >= 0
        first = ending.message.splitlines()[0]
        told = f"{ending.orphans} orphans, checkpoint {ending.steps}: {first}"
        print(f"rank {ending.rank}: ended in {ending.seconds:.1f} s, {told}")
    print(f"{good} of {count} clean ends within 30 s with a usable checkpoint")
    return 0 if good == count else 1
