"""Reports of where the time went, in the two formats of `mlir-opt --mlir-timing`."""

from __future__ import annotations

import json
from collections.abc import Sequence

_RULE = "===" + "-" * 73 + "==="
_TITLE = "... Execution time report ..."


def timing_report(timings: Sequence[tuple[str, float]], total: float, form: str) -> str:
    """The report on named intervals.

    Args:
        timings: name and seconds of each interval, in order.
        total: seconds of the whole run; what the intervals leave over is shown as `Rest`.
        form: `text` or `json`.
    """
    rest = max(0.0, total - sum(seconds for _, seconds in timings))
    rows = [*timings, ("Rest", rest), ("Total", total)]
    return _as_json(rows, total) if form == "json" else _as_text(rows, total)


def _share(seconds: float, total: float) -> float:
    return 100.0 * seconds / total if total else 0.0


def _as_json(rows: Sequence[tuple[str, float]], total: float) -> str:
    entries = [
        {"name": name, "wall": {"duration": round(seconds, 6), "percentage": round(_share(seconds, total), 1)}}
        for name, seconds in rows
    ]
    return json.dumps(entries, indent=2) + "\n"


def _as_text(rows: Sequence[tuple[str, float]], total: float) -> str:
    lines = [_RULE, _TITLE.center(len(_RULE)).rstrip(), _RULE]
    lines += [f"  Total Execution Time: {total:.4f} seconds", "", "  ----Wall Time----  ----Name----"]
    lines += [f"  {seconds:8.4f} ({_share(seconds, total):5.1f}%)  {name}" for name, seconds in rows]
    return "\n".join(lines) + "\n"
