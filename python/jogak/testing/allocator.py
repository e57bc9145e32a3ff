"""How much memory a call takes at most, as PyTorch's allocator counts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


def peak_of(call: Callable[[], Any]) -> int:
    """The most bytes that lived at once during a call, above what lived before it.

    Every allocation of the CPU's allocator is seen, whoever makes it: eager operations or compiled code.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as run:
        call()
    recorded: Any = run.profiler
    held = most = 0
    for event in sorted(_allocations(recorded.kineto_results.experimental_event_tree()), key=lambda each: each[0]):
        held += event[1]
        most = max(most, held)
    return most


def _allocations(events: Any) -> list[tuple[int, int]]:
    """The time and the bytes (negative where they are freed) of each allocation on the CPU."""
    found: list[tuple[int, int]] = []
    todo = list(events)
    while todo:
        event = todo.pop()
        todo += event.children
        if event.tag == torch._C._profiler._EventType.Allocation:
            found.append((event.start_time_ns, event.typed[1].alloc_size))
    return found
