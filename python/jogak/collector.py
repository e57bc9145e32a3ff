"""Python's garbage collector, kept out of the way of passes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """No automatic collection of cyclic garbage inside.

    Passes make many small objects and hardly any cycles, but every few ten thousand objects the collector would walk
    everything that torch and the import keep alive: a quarter of a second each time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
