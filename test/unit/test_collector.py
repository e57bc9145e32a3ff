from __future__ import annotations

import gc

import pytest

from jogak.collector import paused_collector


def test_collector_is_off_inside_and_on_again_behind() -> None:
    assert gc.isenabled()
    with paused_collector():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_collector_is_on_again_after_an_error() -> None:
    def stop() -> None:
        with paused_collector():
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        stop()
    assert gc.isenabled()


def test_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with paused_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
