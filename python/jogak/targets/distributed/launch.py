"""Running a generated program on this machine: torchrun, one process per device, and no process left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from jogak.errors import JogakError
from jogak.ingress.weights import read_weights, write_weights
from jogak.targets.distributed.folder import RUN
from jogak.targets.target import Request

_COLLECTIVE_TIMEOUT = 60.0
_GRACE = 10.0
"""Seconds that torchrun has to end its processes before it is killed; they end with it."""
_TOLD = re.compile(r"^jogak: rank (\d+): (.*(?:\n  .*)*)", re.MULTILINE)
_EXIT = re.compile(r"rank\s*: (\d+) \(local_rank: \d+\)\s+exitcode\s*: (-?\d+)")
_TAIL = 12


@dataclass(frozen=True)
class Run:
    """What the processes left behind.

    Attributes:
        results: for each rank its results, in the program's order.
        report: for each rank the text of its report: losses and collectives.
        output: what rank 0 printed.
    """

    results: Sequence[Sequence[Tensor]]
    report: Sequence[str]
    output: str


def launch(
    program: Path,
    manifest: Path,
    values: Mapping[str, Tensor],
    processes: int,
    request: Request,
) -> Run:
    """Run a program under torchrun with gloo or NCCL, one thread per process.

    Args:
        program: folder with `run.py`.
        manifest: path of the manifest.
        values: the whole value of every argument.
        processes: how many to start.
        request: steps, and seconds that everything may take.

    Raises:
        JogakError: a process failed; the message names it and says why.
    """
    with tempfile.TemporaryDirectory(prefix="jogak-run-") as name:
        work = Path(name)
        write_weights({key: value.contiguous() for key, value in values.items()}, work / "values.safetensors")
        words = [
            *("--manifest", str(manifest), "--values", str(work / "values.safetensors")),
            *("--steps", str(request.steps), "--results", str(work)),
            *(["--profile"] if request.profile else []),
            *("--timeout", str(min(request.timeout, _COLLECTIVE_TIMEOUT)), *request.options),
        ]
        output = finish(command(program, processes, words), work, request.timeout)
        held = [read_weights(work / f"rank{rank}.safetensors") for rank in range(processes)]
        results = [[each[str(number)] for number in range(len(each))] for each in held]
        report = [(work / f"rank{rank}.json").read_text(encoding="utf-8") for rank in range(processes)]
        return Run(results, report, output)


def command(program: Path, processes: int, words: Sequence[str]) -> list[str]:
    """The command that runs a program on this machine under torchrun.

    Args:
        program: folder with `run.py`.
        words: options of `run.py`.
    """
    return torchrun(processes, str(program / RUN), *words)


def torchrun(processes: int, *words: str) -> list[str]:
    """The command that starts processes on this machine; `words` are a script, or `-m MODULE`, and its options."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [*start, *words]


def finish(words: Sequence[str], work: Path, timeout: float) -> str:
    """Run torchrun to its end; its processes end with it.

    Args:
        words: the command.
        work: existing folder, in which it runs and leaves what it wrote.
        timeout: seconds that it may take.

    Returns:
        What rank 0 printed.

    Raises:
        JogakError: one of them failed, or it took too long.
    """
    with (work / "output").open("w+b") as output, (work / "errors").open("w+b") as errors:
        process = subprocess.Popen(
            words, stdout=output, stderr=errors, env=environment(), cwd=work, start_new_session=True
        )
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise JogakError(
                f"the processes did not finish within {timeout:g} seconds and were ended",
                where="torchrun",
                hint="--timeout gives them longer",
            ) from None
        finally:
            end(process)
    told = (work / "errors").read_text(encoding="utf-8", errors="replace")
    if code:
        raise JogakError(explain(told), where="torchrun", hint="jogak run without --target runs it on the simulator")
    return (work / "output").read_text(encoding="utf-8", errors="replace")


def environment() -> dict[str, str]:
    """The environment of a rank: one thread, and what it prints is seen at once."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def end(process: subprocess.Popen[bytes]) -> None:
    """End torchrun if it still runs: politely, so that it ends its processes, which also die with it."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def explain(errors: str) -> str:
    """Which process failed and why, from what torchrun and the processes wrote to stderr.

    A process that was killed, or that told its own error, comes first; the others lost contact because of it.
    """
    exits = {int(rank): int(code) for rank, code in _EXIT.findall(errors)}
    told = {int(rank): message.strip() for rank, message in _TOLD.findall(errors)}
    lines = [f"rank {rank} was killed by {_signal_name(-code)}" for rank, code in exits.items() if _killed(code)]
    causes = [(rank, message) for rank, message in told.items() if message.startswith("error: ")]
    messages = dict.fromkeys(message for _, message in causes)
    for message in messages:
        ranks = [str(rank) for rank, each in sorted(causes) if each == message]
        lines.append(f"rank {', '.join(ranks)}: {message.removeprefix('error: ')}")
    lines += [f"rank {rank}: {message}" for rank, message in sorted(told.items()) if (rank, message) not in causes]
    if lines:
        return "the run failed: " + "\n".join(lines)
    tail = errors.strip().splitlines()[-_TAIL:]
    return "the run failed, torchrun says:\n" + "\n".join(f"  {line}" for line in tail)


def _killed(code: int) -> bool:
    """Whether a process was killed, and not by torchrun, which ends the others with SIGTERM."""
    return code < 0 and code != -signal.SIGTERM


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
