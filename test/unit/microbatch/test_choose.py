"""Which number of micro-batches is taken, on made-up plans."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from jogak.errors import JogakError
from jogak.microbatch.choose import Choice, NothingFits, Trial, choose

Plans = Mapping[int, tuple[float, bool, float | None] | None]
"""For each number: seconds, whether it fits by itself, seconds in the end; None where nothing fits."""


def chosen(plans: Plans) -> tuple[Choice[None], list[int]]:
    finished: list[int] = []

    def plan(count: int, below: float | None) -> Trial[None] | None:
        made = plans[count]
        if made is None:
            raise JogakError(f"{count} do not fit")
        if below is not None and made[0] >= below:
            return None
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
    choice, finished = chosen({1: (1.0, False, 1.1), 2: (1.2, False, 1.3), 4: (1.0, True, 1.0)})
    assert (choice.trial.count, finished) == (1, [1])
    assert [each.finished for each in choice.tried] == [1.1, None]  # more than two take longer still


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


def test_where_nothing_fits_every_reason_is_told() -> None:
    with pytest.raises(NothingFits) as caught:
        chosen({1: None, 2: (1.0, False, None), 4: None})
    told = [each.to_json()["refused"] for each in caught.value.tried]
    assert told == ["1 do not fit", "2 do not fit after all", "4 do not fit"]


def test_the_last_number_is_not_finished_twice() -> None:
    choice, finished = chosen({1: None, 2: (1.0, False, None)})
    assert (choice.trial.count, finished) == (2, [])


def test_an_error_of_the_first_number_that_is_not_about_memory_is_final() -> None:
    class Memory(JogakError):
        """Of memory."""

    def plan(count: int, below: float | None) -> Trial[None]:
        raise JogakError("no mesh") if count == first else Memory("too much")

    first = 1
    with pytest.raises(JogakError, match="no mesh"):
        choose([1, 2, 4], plan, lambda trial: 1.0, Memory)
    first = 2
    with pytest.raises(NothingFits) as caught:
        choose([1, 2, 4], plan, lambda trial: 1.0, Memory)
    assert [str(each.refused) for each in caught.value.tried] == ["too much", "no mesh", "too much"]


def test_rows_of_the_manifest() -> None:
    choice, _ = chosen({1: None, 2: (1.0, True, 1.0)})
    assert [each.to_json() for each in choice.tried] == [
        {"count": 1, "objective": None, "step_time_s": None, "fits": False, "refused": "1 do not fit"},
        {"count": 2, "objective": 1.0, "step_time_s": None, "fits": True, "refused": None},
    ]
