"""The choice among plans that recompute more or less: measured where they can win, and only there."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from jogak.autoshard.joint import NO_LIMIT, SHARES, Measured, search_jointly
from jogak.autoshard.solving import Outcome
from jogak.sharding.mesh import Mesh

LIMIT = 100.0


class Holds:
    """Memory of a plan: its peak is in its choice."""

    whole = None

    def peak(self, choice: tuple[int, ...]) -> tuple[float, int]:
        return float(choice[0]), 0


def found(seconds: float | None, peak: int = 150, bound: float = 1.0) -> list[SimpleNamespace]:
    """The answer of a search: a plan of so many seconds that needs so many bytes, or none."""
    choice = None if seconds is None else (peak,)
    outcome = Outcome(choice, seconds or float("inf"), bound, 0.0, 0.0, min(peak, LIMIT), 0.0, 1)
    model = SimpleNamespace(holds=Holds())
    return [SimpleNamespace(mesh=Mesh(("data",), (4,)), model=model, outcome=outcome, plan=choice)]


def measure(added: dict[int, float | None], log: list[int]):
    def measured(each) -> Measured:
        peak = each.outcome.choice[0]
        log.append(peak)
        extra = added[peak]
        return Measured(each.outcome.objective, extra or 0.0, peak, extra is not None)

    return measured


def test_a_limit_that_does_not_bind_takes_one_search():
    asked: list[float] = []

    def search(share: float):
        asked.append(share)
        return found(1.0, 90)

    joint = search_jointly(search, measure({}, []), LIMIT)
    assert asked == [1.0]
    assert [joint.best.share, joint.best.measured] == [1.0, None]


@pytest.mark.parametrize(("cheap", "share"), [(0.2, 0.6), (9.0, 1.0)])
def test_the_fastest_after_recomputation_wins(cheap, share):
    plans = {1.0: found(3.0, 100), 0.6: found(1.5, 160)}
    log: list[int] = []
    joint = search_jointly(
        lambda s: plans.get(s, found(1.4, 300)), measure({100: 0.0, 160: cheap, 300: None}, log), LIMIT
    )
    assert joint.best.share == share
    assert joint.best.measured.total_s == min(3.0, 1.5 + cheap)
    assert len(log) == len(set(log))


def test_plans_that_cannot_win_are_not_measured():
    plans = {share: found(2.0 - 0.1 * number, 120 + number) for number, share in enumerate(SHARES)}
    log: list[int] = []
    last = 120 + len(SHARES) - 1
    joint = search_jointly(
        lambda s: plans.get(s, []), measure({last: 0.0, **{120 + k: 1.0 for k in range(len(SHARES) - 1)}}, log), LIMIT
    )
    assert log == [last]
    assert joint.best.share == SHARES[-1]
    assert sum(candidate.measured is None for candidate in joint.tried) == len(SHARES) - 1


def test_the_price_of_a_byte_spares_measurements():
    plans = {0.35: found(1.10, 300), 0.2: found(1.05, 200)}
    log: list[int] = []
    joint = search_jointly(lambda s: plans.get(s, found(None)), measure({200: 0.10, 300: 0.0}, log), LIMIT)
    assert joint.price == pytest.approx(0.10 / 100)
    assert log == [200]  # 1.10 s and 200 bytes too many at that price cannot be less than 1.15 s


def test_nothing_that_fits_is_what_the_largest_share_gave():
    plans = {0.6: found(2.0, 200), 0.35: found(1.0, 300)}
    joint = search_jointly(lambda s: plans.get(s, found(None)), measure({200: None, 300: None}, []), LIMIT)
    assert [joint.best.share, joint.price] == [0.6, 0.0]


@pytest.mark.parametrize(("again", "share"), [(0.1, NO_LIMIT), (5.0, 0.1)])
def test_the_fastest_plan_without_a_limit_competes(again, share):
    plans = {0.1: found(2.0, 120), 0.05: found(1.9, 160), NO_LIMIT: found(1.2, 300)}
    added = {120: 0.1, 160: 1.0, 300: again}
    joint = search_jointly(lambda s: plans.get(s, found(None)), measure(added, []), LIMIT)
    assert joint.best.share == share
    assert joint.best.measured.total_s == min(1.2 + again, 2.1)


def test_only_the_plan_without_a_limit_may_be_made_to_fit():
    plans = {NO_LIMIT: found(1.2, 300)}
    made = search_jointly(lambda s: plans.get(s, found(None)), measure({300: 0.5}, []), LIMIT)
    assert [made.best.share, made.best.measured.fits] == [NO_LIMIT, True]
    failed = search_jointly(lambda s: plans.get(s, found(None)), measure({300: None}, []), LIMIT)
    assert [failed.best.share, failed.best.found[0].plan] == [SHARES[-1], None]
