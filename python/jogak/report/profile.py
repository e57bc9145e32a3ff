"""Predicted against measured: what the ranks of a run measured, beside what the cost model says of the same places.

`device.py` is straight-line code in which every value carries its number, so its lines can be matched with the ops of
the program. What lies between two places where a rank communicates is a segment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

from torch_mlir import ir

from jogak.cost.model import CostModel
from jogak.errors import JogakError
from jogak.ir.context import new_context, parse_file
from jogak.ir.structured import arithmetic_of
from jogak.partition.prices import Prices, as_collective, seconds_of
from jogak.report.manifest import dump, file_of
from jogak.report.output import write_text
from jogak.report.prices import cost_of
from jogak.report.timeline import KERNELS, MEASURED, Event, chrome_trace
from jogak.runtime.reader import read_with_ops
from jogak.sharding.mesh import Mesh
from jogak.text import duration, size

PROFILE = "profile.json"
_START = re.compile(r"^    (\w+) = mesh\.(?!all_slice|position|rank)(\w+)\(")
_WAIT = re.compile(r"^    (\w+) = \1\.wait\(\)")
_TARGETS = re.compile(r"^    ([\w, ]+) = ")
_NUMBER = re.compile(r"_(\d+)_*$")
_LISTED = 8


@dataclass
class Segment:
    """What a device computes between two places where it communicates.

    Attributes:
        source: the first line of the model in it.
        predicted_s: seconds.
        measured_s: the same, median over steps, mean over ranks.
        processor_s: processor seconds of the rank's thread.
        lines: how many lines of device.py.
    """

    source: str = ""
    predicted_s: float = 0.0
    measured_s: float = 0.0
    processor_s: float = 0.0
    lines: int = 0


@dataclass
class Transfer:
    """A collective.

    Attributes:
        kind: name of the `shard` op.
        axes: of its groups, separated by commas.
        bytes: the larger of what a device puts in and gets out.
        source: the line of the model.
        predicted_s: seconds.
        measured_s: from when a rank starts it until it is done; what runs beside it takes its share of the cores.
        exposed_s: seconds in which the rank starts it and waits for it.
    """

    kind: str
    axes: str
    bytes: int
    source: str
    predicted_s: float
    measured_s: float = 0.0
    exposed_s: float = 0.0


@dataclass
class Profile:
    """A measured run beside its prediction.

    Attributes:
        segments: in program order.
        transfers: in program order.
        forms: form of arithmetic to (predicted, measured, processor) seconds.
        step: predicted and measured seconds, and processor seconds of a rank.
        memory: predicted and measured bytes.
        processes: how many.
        steps: how many were measured.
    """

    segments: list[Segment] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    forms: dict[str, list[float]] = field(default_factory=dict)
    step: tuple[float, float, float] = (0.0, 0.0, 0.0)
    memory: tuple[int, int] = (0, 0)
    processes: int = 1
    steps: int = 1

    def to_json(self) -> dict[str, Any]:
        """The content of profile.json; everything in it that was measured ends in `seconds` or `bytes`."""
        return {
            "processes": self.processes,
            "steps": self.steps,
            "step": dict(zip(("predicted_s", "measured_s", "processor_s"), self.step, strict=True)),
            "memory": {"predicted_bytes": self.memory[0], "measured_bytes": self.memory[1]},
            "forms": {
                form: dict(zip(("predicted_s", "measured_s", "processor_s"), times, strict=True))
                for form, times in sorted(self.forms.items())
            },
            "segments": [asdict(each) for each in self.segments],
            "collectives": [asdict(each) for each in self.transfers],
        }


@dataclass(frozen=True)
class Line:
    """A line of `main`: what kind of thing it is, the values that it makes, and the model's line."""

    kind: str
    values: tuple[int, ...]
    source: str


def read_lines(text: str) -> dict[int, Line]:
    """The lines of `main` in `device.py`, by number: `start`, `wait` or `compute`."""
    found: dict[int, Line] = {}
    source, inside = "", False
    for number, line in enumerate(text.splitlines(), 1):
        inside = inside or line.startswith("def main(")
        if not inside:
            continue
        if line.startswith("    # "):
            source = line.removeprefix("    # ")
            continue
        targets = _TARGETS.match(line)
        names = targets[1].split(", ") if targets else []
        values = tuple(int(each[1]) for each in map(_NUMBER.search, names) if each)
        kind = "wait" if _WAIT.match(line) else "start" if _START.match(line) else "compute"
        found[number] = Line(kind, values, source)
    return found


def compare(
    text: str,
    ops: Mapping[int, ir.Operation],
    reports: Sequence[Mapping[str, Any]],
    mesh: Mesh,
    cost: CostModel,
) -> Profile:
    """Put what ranks measured beside what is predicted.

    Args:
        text: of the `device.py` that ran.
        ops: the op behind each of the program's values.
        reports: of each rank, as `rank.measure` makes them.

    Raises:
        JogakError: a rank measured other collectives than the program has.
    """
    lines, made = read_lines(text), Profile(processes=len(reports), steps=len(reports[0]["steps"]))
    measured = _mean_lines(reports)
    moved = iter(_moved(lines, reports))
    waited: dict[int, Transfer] = {}
    prices = Prices(cost)
    segment: Segment | None = None
    for number, line in lines.items():
        wall, processor = measured.get(number, (0.0, 0.0))
        if line.kind == "compute":
            segment = segment or _new(made, line)
            _add(made, segment, line, ops, prices, wall, processor)
            continue
        segment = None
        if line.kind == "start":
            transfer = _transfer(ops[line.values[0]], line, mesh, cost)
            made.transfers.append(transfer)
            waited[line.values[0]] = transfer
            transfer.measured_s = next(moved)
        waited[line.values[0]].exposed_s += wall
    predicted = sum(s.predicted_s for s in made.segments) + sum(t.predicted_s for t in made.transfers)
    wall = median(map(fmean, zip(*(report["steps"] for report in reports), strict=True)))
    made.step = predicted, wall, fmean(report["processor"] for report in reports)
    return made


def _moved(lines: Mapping[int, Line], reports: Sequence[Mapping[str, Any]]) -> list[float]:
    """Seconds of every collective, mean over ranks, in the order of the lines that start them.

    Raises:
        JogakError: a rank measured more or fewer than the program starts.
    """
    starts = sum(line.kind == "start" for line in lines.values())
    for rank, report in enumerate(reports):
        if len(report["transfers"]) != starts:
            raise JogakError(
                f"rank {rank} measured {len(report['transfers'])} collectives, but its program starts {starts}",
                hint="this is a bug of Jogak; please report it with the folder",
            )
    return [fmean(each[2] for each in same) for same in zip(*(report["transfers"] for report in reports), strict=True)]


def _mean_lines(reports: Sequence[Mapping[str, Any]]) -> dict[int, tuple[float, float]]:
    found: dict[int, list[tuple[float, float]]] = {}
    for report in reports:
        for line, wall, processor in report["lines"]:
            found.setdefault(line, []).append((wall, processor))
    return {line: (fmean(w for w, _ in each), fmean(p for _, p in each)) for line, each in found.items()}


def _new(made: Profile, line: Line) -> Segment:
    made.segments.append(Segment(line.source))
    return made.segments[-1]


def _add(
    made: Profile,
    segment: Segment,
    line: Line,
    ops: Mapping[int, ir.Operation],
    prices: Prices,
    wall: float,
    processor: float,
) -> None:
    distinct = [ops[value] for value in line.values[:1] if value in ops]
    predicted = sum(map(prices.kernel, distinct))
    form = str(arithmetic_of(distinct[0]).form) if distinct else "other"
    row = made.forms.setdefault(form, [0.0, 0.0, 0.0])
    for at, seconds in enumerate((predicted, wall, processor)):
        row[at] += seconds
    segment.source = segment.source or line.source
    segment.predicted_s += predicted
    segment.measured_s += wall
    segment.processor_s += processor
    segment.lines += 1


def _transfer(op: ir.Operation, line: Line, mesh: Mesh, cost: CostModel) -> Transfer:
    collective = as_collective(op, mesh)
    assert collective is not None, "device.py starts what the program calls a collective"
    axes = ",".join(mesh.told(collective.axes))
    return Transfer(collective.kind, axes, collective.bytes, line.source, seconds_of(collective, cost))


def describe(profile: Profile) -> Iterator[str]:
    """A table for people: what, predicted, measured, their ratio, processor time."""
    yield f"{'':34} {'predicted':>11} {'measured':>11} {'ratio':>7} {'processor':>11}"
    yield _row("step", *profile.step)
    for form, (predicted, wall, processor) in sorted(profile.forms.items(), key=lambda item: -item[1][1]):
        yield _row(f"  kernels, {form}", predicted, wall, processor)
    for (kind, axes), each in _by_kind(profile.transfers).items():
        predicted, exposed = sum(one.predicted_s for one in each), sum(one.exposed_s for one in each)
        yield _row(f"  {kind} on {axes}, {len(each)} times", predicted, exposed)
    predicted_bytes, measured_bytes = profile.memory
    ratio = f"{measured_bytes / predicted_bytes:7.2f}" if predicted_bytes else ""
    yield f"{'peak memory':34} {size(predicted_bytes):>11} {size(measured_bytes):>11} {ratio}"
    yield "segments that take longest"
    longest = sorted(profile.segments, key=lambda each: -each.measured_s)[:_LISTED]
    for segment in longest:
        yield _row(f"  {segment.source[-32:]}", segment.predicted_s, segment.measured_s, segment.processor_s)


def _by_kind(transfers: Sequence[Transfer]) -> dict[tuple[str, str], list[Transfer]]:
    found: dict[tuple[str, str], list[Transfer]] = {}
    for each in transfers:
        found.setdefault((each.kind, each.axes), []).append(each)
    return found


def _row(what: str, predicted: float, measured: float, processor: float | None = None) -> str:
    ratio = f"{measured / predicted:7.2f}" if predicted else f"{'':7}"
    used = "" if processor is None else f" {duration(processor):>11}"
    return f"{what:34} {duration(predicted):>11} {duration(measured):>11} {ratio}{used}"


def measured_events(text: str, report: Mapping[str, Any]) -> list[Event]:
    """What a rank did in the traced step that took neither longest nor shortest."""
    lines = read_lines(text)
    example = report["example"]
    events = []
    for number, start, end in example["lines"]:
        line = lines.get(int(number))
        if line is not None and end > start:
            name = "wait" if line.kind == "wait" else line.source or "main"
            events.append(Event(name, KERNELS, start, end - start, {"line": number}))
    for kind, axes, start, end in example["transfers"]:
        events.append(Event(kind, ",".join(axes), start, end - start))
    return events


def write_profile(
    folder: Path, manifest: Mapping[str, Any], reports: Sequence[Mapping[str, Any]], text: str
) -> Profile:
    """Compare what ranks measured with the prediction, and write profile.json and timeline.measured.json.

    Args:
        reports: of each rank.
        text: of the `device.py` that ran, which need not be the folder's.

    Raises:
        JogakError: the folder is incomplete, or cannot be written.
    """
    mesh, cost = cost_of(manifest)
    module = parse_file(file_of(folder, manifest["modules"]["device"]), new_context())
    made = compare(text, read_with_ops(module)[1], reports, mesh, cost)
    made.memory = manifest["predicted"]["peak_memory_bytes"], max(report["memory"]["peak"] for report in reports)
    write_text(folder / PROFILE, dump(made.to_json()))
    tracks = {f"rank {rank}, measured": measured_events(text, report) for rank, report in enumerate(reports)}
    write_text(folder / MEASURED, chrome_trace(tracks, {"model": manifest["configuration"]["model"]}))
    return made
