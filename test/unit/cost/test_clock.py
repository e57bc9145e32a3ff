"""The clock of a step: kernels in order, collectives beside them."""

from __future__ import annotations

import pytest

from jogak.cost.clock import AHEAD, INTERFERENCE, Work, run_clock, step_seconds


def test_nothing_takes_no_time():
    assert run_clock([]) == 0


def test_what_waits_for_a_collective_is_not_hidden():
    assert run_clock([Work(1.0, ()), Work(2.0, (0,), True), Work(3.0, (1,))]) == pytest.approx(6.0)


def test_a_collective_hides_behind_kernels_that_do_not_need_it():
    works = [Work(1.0, ()), Work(2.0, (0,), True), Work(3.0, (0,)), Work(1.0, (1, 2))]
    assert run_clock(works) == pytest.approx(5.0 + INTERFERENCE * 2.0)


def test_collectives_take_turns():
    works = [Work(1.0, ()), Work(2.0, (0,), True), Work(2.0, (0,), True), Work(1.0, (0,))]
    assert run_clock(works) == pytest.approx(5.0 + INTERFERENCE * 1.0)


def test_what_is_gathered_is_started_only_some_ops_ahead():
    works = [*(Work(1.0, ()) for _ in range(AHEAD + 5)), Work(AHEAD + 10.0, (), True)]
    assert run_clock(works) == pytest.approx(5 + AHEAD + 10 + INTERFERENCE * AHEAD)


@pytest.mark.parametrize("hideable", [0.0, 1.0, 5.0])
def test_the_search_s_formula_is_the_clock_of_a_step_with_everything_in_reach(hideable):
    compute, exposed = 3.0, 0.5
    works = [Work(hideable, (), True), Work(compute, ()), Work(exposed, (1, 0), True)]
    assert run_clock(works) == pytest.approx(step_seconds(compute, exposed, hideable))
