"""The sections of the page, each from the file of the output folder that has its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

from jogak.cost.element import element_size
from jogak.report.communication import Alike
from jogak.report.families import family, template_of
from jogak.report.page import charts
from jogak.report.page.html import Cell, Section, cards, number, paragraph, table
from jogak.text import duration, size

Manifest = Mapping[str, Any]
_LISTED = 40
_SEGMENTS = 15


def summary(manifest: Manifest) -> str:
    """The numbers that matter most."""
    predicted, search = manifest["predicted"], manifest["search"]
    entries = [
        ("step time", duration(predicted["step_time_s"]), predicted["step_time_s"]),
        ("computing", duration(predicted["compute_time_s"]), predicted["compute_time_s"]),
        ("communicating", duration(predicted["communication_time_s"]), predicted["communication_time_s"]),
        ("peak memory per device", size(predicted["peak_memory_bytes"]), predicted["peak_memory_bytes"]),
        ("operations per device", f"{predicted['flops']:.3g}", predicted["flops"]),
    ]
    if search is not None:
        entries.append(("gap to the bound", f"{search['gap']:.2%}", search["gap"]))
    return cards(entries) + "".join(paragraph(text, "warning") for text in manifest["warnings"])


def plan(manifest: Manifest) -> Section:
    """Every argument with its sharding; repeated layers are one row."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for each in manifest["arguments"]:
        key = (template_of(each["name"]), each["role"], each["element"], tuple(each["shape"]), each["sharding"])
        groups.setdefault(key, []).append(each)
    rows = [_argument(members) for members in groups.values()]
    head = ("name", "role", "type", "sharding", "on a device", "bytes on a device")
    text = "Dimensions of a tensor, and the mesh axes that split each of them; _ is whole. Repeated layers are one row."
    return Section("plan", "Plan", paragraph(text) + table("plan-table", head, rows))


def _argument(members: Sequence[Mapping[str, Any]]) -> list[Cell]:
    first = members[0]
    each = prod(first["local_shape"]) * element_size(first["element"])
    split = any(part.strip(" _") for part in first["sharding"].strip("[]").split(","))
    return [
        Cell(family([member["name"] for member in members]), code=True),
        Cell(first["role"].replace("_", " ")),
        Cell(f"{first['element']}{first['shape']}", code=True),
        Cell(first["sharding"], code=True, kind="split" if split else ""),
        Cell(str(first["local_shape"]), code=True),
        number(size(each * len(members)), each * len(members)),
    ]


def meshes(manifest: Manifest) -> Section | None:
    """The best plan on every mesh that was searched; None where nothing was."""
    search = manifest["search"]
    if search is None:
        return None
    rows = [
        [
            Cell(each["mesh"], code=True),
            number(duration(each["objective"]), each["objective"]) if each["feasible"] else Cell("does not fit"),
            number(duration(each["lower_bound"]), each["lower_bound"]) if each["lower_bound"] is not None else Cell(""),
            number(size(each["peak_memory_bytes"]), each["peak_memory_bytes"])
            if each["peak_memory_bytes"] is not None
            else Cell(""),
        ]
        for each in search["meshes"]
    ]
    said = (
        f"The plan takes {duration(search['objective'])} as the search prices it; no plan on its mesh takes less than "
        f"{duration(search['lower_bound'])} (gap {search['gap']:.2%}). {search['variables']} decisions were open."
    )
    head = ("mesh", "step", "lower bound", "memory per device")
    return Section("search", "Search", paragraph(said) + table("mesh-table", head, rows, best=0))


def collectives(manifest: Manifest, alike: Mapping[Alike, Sequence[str]]) -> Section:
    """What devices send, by kind and axes, and where in the model it comes from."""
    rows = [
        [
            Cell(kind.replace("_", "-")),
            Cell(axes, code=True),
            number(str(along["count"]), along["count"]),
            number(size(along["bytes"]), along["bytes"]),
        ]
        for kind, entry in manifest["predicted"]["collectives"].items()
        for axes, along in entry["by_axis"].items()
    ]
    promised = table("collective-table", ("kind", "axes", "a step", "bytes per device"), rows)
    if not rows:
        return Section("collectives", "Collectives", paragraph("Devices do not communicate."))
    ranked = sorted(alike.items(), key=lambda item: -item[0].bytes * len(item[1]))
    places = [_place(each, scopes) for each, scopes in ranked[:_LISTED]]
    head = ("kind", "axes", "why", "where", "times", "bytes per device")
    said = f"Of {len(ranked)} places the {len(places)} that move most." if len(ranked) > len(places) else "By place."
    return Section("collectives", "Collectives", promised + paragraph(said) + table("place-table", head, places))


def _place(each: Alike, scopes: Sequence[str]) -> list[Cell]:
    where = [family([scope for scope in scopes if scope]) if any(scopes) else "", each.place, *each.members]
    return [
        Cell(each.kind.replace("_", "-")),
        Cell(each.axes, code=True),
        Cell(" ".join(filter(None, [each.cause, each.part and f"({each.part})"]))),
        Cell("; ".join(filter(None, where)) or "the optimizer", code=True),
        number(str(len(scopes)), len(scopes)),
        number(size(each.bytes * len(scopes)), each.bytes * len(scopes)),
    ]


def memory(manifest: Manifest, map_: Mapping[str, Any], frontier: Mapping[str, Any] | None) -> Section:
    """Bytes alive over the program, what is alive at the peak, and the frontier where somebody computed it."""
    live = map_["live"]
    curve = charts.area(live, map_["arena_bytes"], size, "bytes alive at each step of the program", "steps in order")
    at = max(range(len(live)), key=live.__getitem__) if live else 0
    said = (
        f"The arena of a device has {size(map_['arena_bytes'])} (dashed), of which arguments hold "
        f"{size(map_['resident_bytes'])} all the time. Most is alive at step {at}"
        + (f": {map_['steps'][at]['op']} at {map_['steps'][at]['source']}." if map_["steps"] else ".")
    )
    held = [each for each in map_["buffers"] if each["first"] <= at <= each["last"] and "argument" not in each]
    held.sort(key=lambda each: -each["bytes"])
    rows = [
        [Cell(each["op"], code=True), Cell(each["source"], code=True), number(size(each["bytes"]), each["bytes"])]
        for each in held[:_SEGMENTS]
    ]
    body = (
        paragraph(said)
        + curve
        + (table("peak-table", ("largest at the peak", "made at", "bytes"), rows) if rows else "")
    )
    remat = manifest["remat"]
    if remat is not None:
        body += paragraph(
            f"{remat['recomputed_ops']} ops are computed again, which takes {duration(remat['added_time_s'])}; "
            f"without it a device needs {size(remat['peak_without_bytes'])}."
        )
    return Section("memory", "Memory", body + (_frontier(frontier) if frontier else ""))


def _frontier(frontier: Mapping[str, Any]) -> str:
    points = [(each["memory_bytes"], each["added_time_percent"]) for each in frontier["points"]]
    said = "Time against memory: what recomputation adds to the step for each budget."
    chart = charts.path(
        points, size, lambda percent: f"{percent:.1f} %", "time added for less memory", "memory of a device"
    )
    rows = [
        [
            number(size(each["memory_bytes"]), each["memory_bytes"]),
            number(f"{each['added_time_percent']:.2f} %", each["added_time_percent"]),
            number(str(each["recomputed_ops"]), each["recomputed_ops"]),
        ]
        for each in frontier["points"]
    ]
    return paragraph(said) + chart + table("frontier-table", ("memory", "time added", "ops computed again"), rows)


def measured(profile: Mapping[str, Any] | None) -> Section | None:
    """Predicted against measured; None where nothing was measured."""
    if profile is None:
        return None
    step, held = profile["step"], profile["memory"]
    rows = [_compared("step", step["predicted_s"], step["measured_s"])]
    rows += [_compared(f"kernels, {name}", e["predicted_s"], e["measured_s"]) for name, e in profile["forms"].items()]
    rows += [_compared(name, predicted, exposed) for name, predicted, exposed in _kinds(profile["collectives"])]
    rows.append([
        Cell("peak memory"),
        number(size(held["predicted_bytes"]), held["predicted_bytes"]),
        number(size(held["measured_bytes"]), held["measured_bytes"]),
        _ratio(held["predicted_bytes"], held["measured_bytes"]),
    ])  # fmt: skip
    head = ("", "predicted", "measured", "measured / predicted")
    said = (
        f"{profile['processes']} processes, medians of {profile['steps']} steps. Of collectives, what a rank spends in "
        "starting them and waiting. Bars: the segments between collectives that take longest, predicted and measured."
    )
    longest = sorted(profile["segments"], key=lambda each: -each["measured_s"])[:_SEGMENTS]
    chart = charts.bars(
        [(e["source"][-34:], (e["predicted_s"], e["measured_s"])) for e in longest], duration, "segments"
    )
    return Section("measured", "Predicted and measured", paragraph(said) + table("measured-table", head, rows) + chart)


def _compared(name: str, predicted: float, seconds: float) -> list[Cell]:
    return [
        Cell(name),
        number(duration(predicted), predicted),
        number(duration(seconds), seconds),
        _ratio(predicted, seconds),
    ]


def _ratio(predicted: float, found: float) -> Cell:
    return number(f"{found / predicted:.2f}", found / predicted) if predicted else Cell("", kind="number")


def _kinds(transfers: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, float, float]]:
    found: dict[str, list[float]] = {}
    for each in transfers:
        row = found.setdefault(f"{each['kind'].replace('_', '-')} on {each['axes']}", [0.0, 0.0])
        row[0] += each["predicted_s"]
        row[1] += each["exposed_s"]
    for name, (predicted, exposed) in found.items():
        yield name, predicted, exposed


def coverage(manifest: Manifest) -> Section | None:
    """Which ops a rule covers; None where it is unknown."""
    covered = manifest["coverage"]
    if covered is None:
        return None
    said = (
        f"{covered['by_rule']} of {covered['ops']} ops are split by rule, {covered['partly_replicated']} have a "
        f"dimension that stays whole, {covered['unknown']} are replicated ({covered['fallback_flops_share']:.2%} of "
        "the arithmetic)."
    )
    rows = [
        [
            Cell(each["op"], code=True),
            Cell(each["reason"]),
            Cell(each["location"], code=True),
            number(str(each["count"]), each["count"]),
            number(f"{each['share']:.2%}", each["share"]),
        ]
        for each in covered["replicated"]
    ]
    head = ("op", "why", "first at", "ops", "of the arithmetic")
    return Section("coverage", "Coverage", paragraph(said) + (table("coverage-table", head, rows) if rows else ""))


def phases(manifest: Manifest) -> Section:
    """How long each phase of the compilation took."""
    entries = [(each["name"], [each["seconds"]]) for each in manifest["phases"]]
    chart = charts.bars(entries, lambda seconds: f"{seconds:.2f} s", "seconds of each phase")
    rows = [[Cell(each["name"]), number(f"{each['seconds']:.3f}", each["seconds"])] for each in manifest["phases"]]
    return Section("phases", "Compilation", chart + table("phase-table", ("phase", "seconds"), rows))
