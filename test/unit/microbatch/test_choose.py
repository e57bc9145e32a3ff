"""Which number of micro-batches is taken, on made-up plans."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from jogak.errors import JogakError
from jogak.microbatch.choose import Choice, Trial, choose

Plans = Mapping[int, tuple[float, bool, float | None] | None]
"""For each number: seconds, whether it fits by itself, seconds in the end; None where nothing fits."""


def chosen(plans: Plans) -> tuple[Choice[None], list[int]]:
    finished: list[int] = []

    def plan(count: int) -> Trial[None]:
        made = plans[count]
        if made is None:
            raise JogakError(f"{count} do not fit")
        return Trial(count, made[0], made[1], None)

    def finish(trial: Trial[None]) -> float:
        finished.append(trial.count)
        made = plans[trial.count]
        assert made is not None
        if made[2] is None:
            raise JogakError(f"{trial.count} do not fit after all")
        return made[2]

    return choose(sorted(plans), plan, finish), finished


def test_a_plan_that_fits_by_itself_is_taken_without_more() -> None:
    choice, finished = chosen({1: (1.0, True, None), 2: (0.5, True, None)})
    assert (choice.trial.count, len(choice.tried), finished) == (1, 1, [])


def test_recomputation_wins_where_it_is_faster() -> None:
    choice, finished = chosen({1: (1.0, False, 1.1), 2: (1.2, True, 1.2)})
    assert (choice.trial.count, finished) == (1, [1])
    assert [each.finished for each in choice.tried] == [1.1, None]


def test_micro_batches_win_where_they_are_faster() -> None:
    choice, finished = chosen({1: (1.0, False, 1.4), 2: (1.1, False, 1.3), 4: (1.2, True, 1.2), 8: None})
    assert (choice.trial.count, finished) == (4, [1, 2, 4])
    assert [each.count for each in choice.tried] == [1, 2, 4]


def test_micro_batches_are_taken_where_nothing_else_fits() -> None:
    choice, _ = chosen({1: None, 2: None, 4: (2.0, True, 2.0)})
    assert choice.trial.count == 4
    assert [bool(each.refused) for each in choice.tried] == [True, True, False]


def test_more_are_tried_where_a_plan_turns_out_not_to_fit() -> None:
    choice, _ = chosen({1: (1.0, False, None), 2: (1.1, True, None), 4: (1.5, True, 1.5)})
    assert choice.trial.count == 4


def test_where_nothing_fits_the_first_error_is_told() -> None:
    with pytest.raises(JogakError, match=r"^1 do not fit$"):
        chosen({1: None, 2: None})
    with pytest.raises(JogakError, match=r"^1 do not fit$"):
        chosen({1: None, 2: (1.0, False, None), 4: (1.0, False, None)})


def test_rows_of_the_manifest() -> None:
    choice, _ = chosen({1: None, 2: (1.0, True, 1.0)})
    assert [each.to_json() for each in choice.tried] == [
        {"count": 1, "objective": None, "step_time_s": None, "fits": False},
        {"count": 2, "objective": 1.0, "step_time_s": None, "fits": True},
    ]
