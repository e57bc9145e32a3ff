"""The table of predictions against measurements."""

from __future__ import annotations

from jogak.testing.prediction import Taken, middle, verdict


def taken(predicted: float, wall: float) -> Taken:
    return Taken(predicted, wall, wall / 2, (100, 99))


def test_the_ratio_is_that_of_rounds_not_of_medians():
    rounds = [taken(1.0, 1.1), taken(2.0, 2.2), taken(4.0, 4.0)]
    told, ratio = middle(rounds)
    assert (told.predicted, told.wall) == (2.0, 2.2)
    assert ratio == 1.1
    assert told.memory == (100, 99)


def test_plans_in_another_order_are_named():
    rows = [middle([taken(*each)]) for each in ((1.0, 1.0), (1.1, 2.0), (1.2, 1.5))]
    assert verdict(rows, ["auto", "first", "second"]) == (
        "auto takes 1.000x of the fastest; predictions at most 82% off; "
        "ranking changed: first before second, which takes 25% less"
    )
    assert verdict(rows[:2], ["auto", "first"]).endswith("ranking kept")
