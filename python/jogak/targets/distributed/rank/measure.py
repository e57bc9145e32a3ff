"""Measures a program on this rank: whole steps, then the lines of `main` and the collectives of some more steps.

Lines are timed with the interpreter's own trace function, which sees `main` and nothing that it calls, so the program
stays as it is. A collective notes when it starts and when the network is done with it.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from types import CodeType, FrameType
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from . import channels
from .mesh import Axes
from .step import Step

_MARK = "jogak step"
WARM_UP = 2
MEMORY_RUNS = 2
TRACED = 5
"""Steps that are traced, at least; whole steps are timed without a trace."""


@dataclass
class Transfer:
    """A collective of one step.

    Attributes:
        kind: `all_reduce`, ..., or `halo`.
        axes: of its groups.
        start: when this rank started it; a halo of several dimensions with the first of them.
        end: when it was done.
    """

    kind: str
    axes: Axes
    start: float
    end: float


@dataclass
class Recorder:
    """What a mesh tells while it is recorded."""

    transfers: list[Transfer] = field(default_factory=list)

    def started(self, kind: str, axes: Axes, start: float, works: Sequence[Any]) -> list[Any]:
        """A collective was started; it is done when the last of its works is.

        Args:
            works: what torch.distributed returned: one, or of a halo one for each message.

        Returns:
            What to wait for. Some works of gloo tell nobody when they are done; then it is whoever waits that notes it.
        """
        transfer = Transfer(kind, axes, start, time.perf_counter())
        self.transfers.append(transfer)
        return [_noting(work, transfer) for work in works]


def _noting(work: Any, transfer: Transfer) -> Any:
    if isinstance(work, channels.Transfer):
        return Waited(work, transfer)
    try:
        work.get_future().then(lambda _: setattr(transfer, "end", time.perf_counter()))
    except RuntimeError:
        return Waited(work, transfer)
    return work


@dataclass
class Waited:
    """Work whose end is when somebody has waited for it."""

    work: Any
    transfer: Transfer

    def wait(self) -> None:
        """Wait for it."""
        self.work.wait()
        self.transfer.end = time.perf_counter()


@dataclass(frozen=True)
class Span:
    """A line of device.py that was run: its number, when it began and ended, and processor seconds of its thread."""

    line: int
    start: float
    end: float
    processor: float


@dataclass(frozen=True)
class Traced:
    """One step: its seconds, and what it did on its own clock."""

    seconds: float
    spans: list[Span]
    transfers: list[Transfer]


def profile(step: Step, steps: int) -> dict[str, Any]:
    """Measure a program; every rank calls it. Times are in seconds.

    Returns:
        `runs`: how often the program ran; `steps`: of each whole step, `processor`: median over them of the processor
        time of all threads; `traced`: of each traced step; `lines`: (line of device.py, median over traced steps, the
        same for its processor time); `transfers`: (kind, axes, median from start to end); `example`: spans and
        transfers of the traced step in the middle; `memory`: see `peak_memory`.
    """
    for _ in range(WARM_UP):
        step()
    whole = [_timed(step) for _ in range(steps)]
    runs = sorted((_traced(step) for _ in range(max(TRACED, steps // 2))), key=lambda run: run.seconds)
    middle = runs[len(runs) // 2]
    moved = zip(*(run.transfers for run in runs), strict=True)
    return {
        "runs": WARM_UP + len(whole) + len(runs) + MEMORY_RUNS,
        "steps": [wall for wall, _ in whole],
        "processor": statistics.median(processor for _, processor in whole),
        "traced": [run.seconds for run in runs],
        "lines": list(_lines(runs)),
        "transfers": [
            [each[0].kind, list(each[0].axes), statistics.median(one.end - one.start for one in each)] for each in moved
        ],
        "example": {
            "lines": [[each.line, each.start, each.end] for each in middle.spans],
            "transfers": [[each.kind, list(each.axes), each.start, each.end] for each in middle.transfers],
        },
        "memory": peak_memory(step),
    }


def _lines(runs: list[Traced]) -> Iterator[list[float]]:
    """For each line its medians over steps of wall and processor time."""
    found: dict[int, list[tuple[float, float]]] = {}
    for run in runs:
        own: dict[int, tuple[float, float]] = {}
        for span in run.spans:
            wall, processor = own.get(span.line, (0.0, 0.0))
            own[span.line] = wall + span.end - span.start, processor + span.processor
        for line, times in own.items():
            found.setdefault(line, []).append(times)
    for line, each in sorted(found.items()):
        yield [line, *(statistics.median(column) for column in zip(*each, strict=True))]


def _timed(step: Step) -> tuple[float, float]:
    """Seconds of a step, and processor seconds of all threads of this rank."""
    start, processor = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - start, time.process_time() - processor


def _traced(step: Step) -> Traced:
    recorder = step.mesh.recorder = Recorder()
    start = time.perf_counter()
    try:
        events = trace(step.program.main.__code__, step)
    finally:
        step.mesh.recorder = None
    seconds = time.perf_counter() - start
    step.mesh.meet()  # by now every transfer knows its end
    spans = [
        Span(line, begin - start, end - start, used - before)
        for (line, begin, before), (_, end, used) in pairwise(events)
    ]
    found = [Transfer(each.kind, each.axes, each.start - start, each.end - start) for each in recorder.transfers]
    return Traced(seconds, spans, found)


def trace(code: CodeType, call: Callable[[], object]) -> list[tuple[int, float, float]]:
    """When each line of a function was reached during a call, by the wall and by the thread's clock, and its return."""
    events: list[tuple[int, float, float]] = []
    note, wall, processor = events.append, time.perf_counter, time.thread_time

    def inside(frame: FrameType, event: str, argument: Any) -> Any:
        note((frame.f_lineno, wall(), processor()))
        return inside

    def entered(frame: FrameType, event: str, argument: Any) -> Any:
        return inside if frame.f_code is code else None

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        call()
    finally:
        sys.settrace(before)
    return events


def peak_memory(step: Step) -> dict[str, int]:
    """Bytes of one step as PyTorch's allocator counts them.

    Returns:
        `arguments`: of parameters, optimizer state and inputs, which are held all the time; `peak`: the most during a
        step, arguments included.
    """
    if step.device.type == "cuda":
        step()
        torch.cuda.reset_peak_memory_stats()
        step()
        return {"arguments": step.held_bytes, "peak": torch.cuda.max_memory_allocated()}
    with torch.profiler.profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        step()  # whose memory the allocator knows when the next one frees it
        before = step.stored_bytes
        with torch.profiler.record_function(_MARK):
            step()
    recorded: Any = run.profiler
    events = list(recorded.kineto_results.events())
    start = next(each.start_ns() for each in events if each.name() == _MARK)
    changes = [(each.start_ns(), each.nbytes()) for each in events if each.name() == "[memory]"]
    total = accumulate(bytes_ for time_, bytes_ in sorted(changes) if time_ >= start)
    return {"arguments": step.held_bytes, "peak": before + max(total, default=0)}
