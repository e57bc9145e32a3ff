"""Collective counts of small training steps with shardings that the user gave, against the published numbers."""

from __future__ import annotations

import pytest

from jogak.testing.counts import CHECKS, Check, counts_of, measure

GAPS = {
    "C6 ZeRO-2": "the two gathers stay apart, since bucketing them is no gain by the cost model",
}


def _parameter(check: Check) -> object:
    marks = [pytest.mark.xfail(reason=GAPS[check.name], strict=True)] if check.name in GAPS else []
    return pytest.param(check, id=check.name, marks=marks)


@pytest.mark.parametrize("check", [_parameter(check) for check in CHECKS])
def test_count_is_as_published(check: Check) -> None:
    verdict = measure(check)
    assert verdict.error <= 1e-5
    assert verdict.promised == verdict.counted
    assert counts_of(verdict) == check.expected
