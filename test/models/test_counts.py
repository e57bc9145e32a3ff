"""Collective counts of small training steps with shardings that the user gave, against the published numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from jogak.testing.counts import CHECKS, FOUND, Check, Found, counts_of, find, measure

MACHINES = Path(__file__).resolve().parents[2] / "bench" / "machines"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_count_is_as_published(check: Check) -> None:
    verdict = measure(check)
    assert verdict.error <= 1e-5
    assert verdict.promised == verdict.counted
    assert counts_of(verdict) == check.expected


@pytest.mark.parametrize(
    "check", [each for each in FOUND if each.name.startswith(("C2", "C6"))], ids=lambda each: each.name
)
def test_published_collectives_or_cheaper_ones_are_found(check: Found) -> None:
    verdict, cost = find(check, MACHINES)
    assert verdict.error <= 1e-5
    assert verdict.promised == verdict.counted
    assert counts_of(verdict) == check.expected
    assert cost <= check.cost * (0.95 if check.ours else 1.001)
