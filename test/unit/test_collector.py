from __future__ import annotations

import gc

import pytest

from jogak.collector import paused_collector


def test_collector_is_off_inside_and_on_again_after_an_error() -> None:
    assert gc.isenabled()
    with pytest.raises(ValueError, match="stop"), paused_collector():
        assert not gc.isenabled()
        raise ValueError("stop")
    assert gc.isenabled()


def test_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with paused_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
