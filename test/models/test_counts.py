"""Collective counts of small training steps with shardings that the user gave, against the published numbers."""

from __future__ import annotations

import pytest

from jogak.testing.counts import CHECKS, Check, counts_of, measure


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_count_is_as_published(check: Check) -> None:
    verdict = measure(check)
    assert verdict.error <= 1e-5
    assert verdict.promised == verdict.counted
    assert counts_of(verdict) == check.expected
