"""What differs between two output folders: shardings, collectives, times, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jogak.report.families import family, template_of
from jogak.text import duration, size


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Lines that tell what the second plan does otherwise, from the two manifests."""
    lines = [*_totals(first, second), *_collectives(first, second), *_arguments(first, second)]
    return "\n".join(lines)


def _totals(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    meshes = [
        ",".join(f"{a}={n}" for a, n in zip(m["axes"], m["shape"], strict=True)) for m in _both(first, second, "mesh")
    ]
    yield f"mesh                {meshes[0]} -> {meshes[1]}"
    before, after = _both(first, second, "predicted")
    for name, told in (("step_time_s", duration), ("compute_time_s", duration), ("communication_time_s", duration)):
        yield _changed(name.removesuffix("_s").replace("_", " "), before[name], after[name], told)
    yield _changed("peak memory", before["peak_memory_bytes"], after["peak_memory_bytes"], size)


def _both(first: Mapping[str, Any], second: Mapping[str, Any], key: str) -> tuple[Any, Any]:
    return first[key], second[key]


def _changed(name: str, before: float, after: float, told: Callable[[float], str]) -> str:
    share = f" ({(after - before) / before:+.1%})" if before else ""
    return f"{name:19} {told(before)} -> {told(after)}{share}"


def _collectives(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    before, after = (_by_kind(each["predicted"]["collectives"]) for each in (first, second))
    for key in sorted({*before, *after}):
        was, now = before.get(key, (0, 0)), after.get(key, (0, 0))
        if was != now:
            kind, axes = key
            yield f"{kind:15} on {axes}: {was[0]} times, {size(was[1])} -> {now[0]} times, {size(now[1])}"


def _by_kind(collectives: Mapping[str, Any]) -> dict[tuple[str, str], tuple[int, int]]:
    return {
        (kind, axes): (along["count"], along["bytes"])
        for kind, entry in collectives.items()
        for axes, along in entry["by_axis"].items()
    }


def _arguments(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    """Arguments that lie otherwise, repeated layers in one line."""
    before, after = ({a["name"]: a["sharding"] for a in each["arguments"]} for each in (first, second))
    for name in sorted({*before} ^ {*after}):
        yield f"{name}: only in the {'first' if name in before else 'second'}"
    groups: dict[tuple[str, str, str], list[str]] = {}
    for name, was in before.items():
        now = after.get(name, was)
        if now != was:
            groups.setdefault((template_of(name), was, now), []).append(name)
    if not groups:
        yield "every argument lies alike"
    for (_, was, now), names in groups.items():
        yield f"{family(names)}: {was} -> {now}"
