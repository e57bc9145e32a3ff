"""How often devices communicate, and how many bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jogak.runtime.kinds import KINDS
from jogak.runtime.program import CollectiveStep

NOT_COUNTED = frozenset(
    ["all_slice", "recv", "process_multi_index", "process_linear_index", "grid_shape", "neighbors_linear_indices"]
)


@dataclass(frozen=True)
class Count:
    """How many collectives, and the bytes of one device: of each the larger of operand and result, as declared.

    Of a halo exchange the bytes of the margins.
    """

    count: int = 0
    bytes: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.count + other.count, self.bytes + other.bytes)


Table = dict[str, dict[str, Count]]
"""By kind, then by mesh axes: `model`, or `data,model` for several."""


@dataclass(frozen=True)
class CollectiveCounts:
    """Collectives by kind and axes.

    Attributes:
        by_kind: per device; where devices differ, the largest count and the largest bytes of any of them.
        per_device: the table of each device.
    """

    by_kind: Table
    per_device: Sequence[Table]

    def total(self, kind: str) -> Count:
        """The sum over all axes for one kind; zero when there is none."""
        return sum(self.by_kind.get(kind, {}).values(), Count())


@dataclass
class Counter:
    """Counts the collectives of one device while it runs."""

    table: Table = field(default_factory=dict)

    def add(self, step: CollectiveStep) -> None:
        """Count one step; those without communication are not counted."""
        kind = step.collective.kind
        if kind in NOT_COUNTED:
            return
        axes = ",".join(step.collective.told or step.collective.axes)
        row = self.table.setdefault(KINDS.get(kind, kind), {})
        row[axes] = row.get(axes, Count()) + Count(1, _bytes(step))


def _bytes(step: CollectiveStep) -> int:
    whole = max(step.operand_type.bytes, step.result_type.bytes)
    if step.collective.kind != "update_halo":
        return whole
    halo = zip(step.collective.halo, step.result_type.shape, strict=False)
    return sum(whole * (low + high) // size for (_, low, high), size in halo)


def summarize(tables: Sequence[Table]) -> CollectiveCounts:
    """The counts of a mesh from those of its devices."""
    keys = sorted({(kind, axes) for table in tables for kind, row in table.items() for axes in row})
    by_kind: Table = {}
    for kind, axes in keys:
        found = [_entry(table, kind, axes) for table in tables]
        largest = Count(max(each.count for each in found), max(each.bytes for each in found))
        by_kind.setdefault(kind, {})[axes] = largest
    return CollectiveCounts(by_kind, tuple(tables))


def _entry(table: Mapping[str, Mapping[str, Count]], kind: str, axes: str) -> Count:
    return table.get(kind, {}).get(axes, Count())


def to_json(counts: CollectiveCounts) -> dict[str, Any]:
    """What was counted, in the form in which the manifest promises it."""
    return {
        kind: {
            "count": counts.total(kind).count,
            "bytes": counts.total(kind).bytes,
            "by_axis": {axes: {"count": each.count, "bytes": each.bytes} for axes, each in row.items()},
        }
        for kind, row in counts.by_kind.items()
    }
