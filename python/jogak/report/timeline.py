"""What a device does when: predicted by the clock of the cost model, as a file for Perfetto.

A device has one stream for kernels and one for the collectives of each tuple of mesh axes. A kernel waits for the
collectives that it reads; a collective starts when its operand is there. Where the machine moves data with the cores
that compute (`overlap` is false), everything is one stream. All devices run one program, so one of them stands for all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch_mlir import ir

from jogak.cost.model import CostModel
from jogak.ir.diagnostics import SourceLocation, source_location
from jogak.memory.attributes import RECOMPUTE_OF
from jogak.partition.prices import Prices, as_collective, seconds_of
from jogak.sharding.mesh import Mesh

KERNELS = "kernels"
TIMELINE = "timeline.json"
MEASURED = "timeline.measured.json"


@dataclass(frozen=True)
class Event:
    """Something that a device does.

    Attributes:
        name: of the op, or of the collective.
        stream: `KERNELS`, or the axes of a collective: `all of data,model`.
        start: seconds from the beginning of the step.
        seconds: how long it takes.
        notes: for people: source line, bytes.
    """

    name: str
    stream: str
    start: float
    seconds: float
    notes: Mapping[str, Any] = field(default_factory=dict)


def predict(function: ir.Operation, mesh: Mesh, cost: CostModel) -> list[Event]:
    """The events of a per-device program that take time, in the order in which it issues them."""
    ready: dict[ir.Value, float] = {}
    free: dict[str, float] = {KERNELS: 0.0}
    events = []
    prices = Prices(cost)
    for view in function.regions[0].blocks[0].operations:
        op = view.operation
        collective = as_collective(op, mesh)
        stream, seconds = KERNELS, 0.0
        if collective is None:
            seconds = prices.kernel(op)
        else:
            stream, seconds = ",".join(mesh.told(collective.axes)), seconds_of(collective, cost)
        clock = stream if cost.machine.overlap else KERNELS
        start = max((ready.get(value, 0.0) for value in op.operands), default=0.0)
        if seconds:
            start = max(start, free.get(clock, 0.0))
            free[clock] = start + seconds
            bytes_ = None if collective is None else collective.bytes
            events.append(Event(_name(op), stream, start, seconds, _notes(op, bytes_)))
        ready |= dict.fromkeys(op.results, start + seconds)
    return events


def _name(op: ir.Operation) -> str:
    name = str(op.name).removeprefix("shard.").removeprefix("linalg.")
    scope = source_location(op.location).scope
    return f"{scope}: {name}" if scope else name


def _notes(op: ir.Operation, bytes_: int | None) -> dict[str, Any]:
    place: SourceLocation = source_location(op.location)
    notes: dict[str, Any] = {"source": f"{place.file}:{place.line}"} if place.file else {}
    if bytes_ is not None:
        notes["bytes"] = bytes_
    if RECOMPUTE_OF in op.attributes:
        notes["recomputes"] = ir.StringAttr(op.attributes[RECOMPUTE_OF]).value
    return notes


def predicted_trace(function: ir.Operation, mesh: Mesh, cost: CostModel, model: str) -> str:
    """The content of timeline.json."""
    events = predict(function, mesh, cost)
    about = {"model": model, "mesh": str(mesh), "machine": cost.machine.name, "step_time_s": end_of(events)}
    return chrome_trace({f"one of {mesh.devices} devices, predicted": events}, about)


def end_of(events: Iterable[Event]) -> float:
    """Seconds of a step."""
    return max((event.start + event.seconds for event in events), default=0.0)


def chrome_trace(tracks: Mapping[str, Sequence[Event]], about: Mapping[str, Any]) -> str:
    """Events in the trace format of Chrome, which Perfetto reads: a process for each track, a thread for each stream.

    Args:
        tracks: name of a device to its events.
        about: what the file is, kept beside the events.
    """
    found = [entry for number, (name, events) in enumerate(tracks.items()) for entry in _track(number, name, events)]
    body = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in found)
    note = json.dumps(dict(about), ensure_ascii=False)
    return f'{{"displayTimeUnit": "ms", "otherData": {note}, "traceEvents": [\n{body}\n]}}\n'


def _track(process: int, name: str, events: Sequence[Event]) -> Iterator[dict[str, Any]]:
    streams = [KERNELS, *sorted({event.stream for event in events} - {KERNELS})]
    yield {"ph": "M", "name": "process_name", "pid": process, "args": {"name": name}}
    for thread, stream in enumerate(streams):
        label = stream if stream == KERNELS else f"collectives on {stream}"
        yield {"ph": "M", "name": "thread_name", "pid": process, "tid": thread, "args": {"name": label}}
    for event in events:
        times = {"ts": round(event.start * 1e6, 3), "dur": round(event.seconds * 1e6, 3)}
        yield {
            "ph": "X", "name": event.name, "pid": process, "tid": streams.index(event.stream), **times,
            "args": dict(event.notes),
        }  # fmt: skip
