"""When a rank is taken to hang."""

from __future__ import annotations

from jogak.targets.distributed.rank.pulse import Watch


def test_a_sign_that_stays_the_same_is_silence() -> None:
    watch = Watch(20.0)
    assert watch.note(1, "1 10 host", 0.0) == 0.0
    assert watch.note(1, "1 10 host", 15.0) == 15.0
    assert watch.note(1, "2 10 host", 16.0) == 0.0
    assert watch.note(1, "2 10 host", 40.0) == 24.0


def test_a_rank_that_has_ended_is_not_missed() -> None:
    watch = Watch(20.0)
    watch.note(1, "3 10 host", 0.0)
    assert watch.note(1, "ended", 1.0) == 0.0
    assert watch.note(1, "ended", 100.0) == 0.0
