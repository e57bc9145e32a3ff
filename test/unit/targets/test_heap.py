"""Memory that was freed is there for the next step, and is not mapped again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_SCRIPT = """
import resource, torch
from jogak.targets.distributed.rank.heap import keep_memory
kept = keep_memory()
def step():
    gradients = [torch.ones(1 << 20) for _ in range(16)]
for _ in range(2):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    step()
print(kept, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() >> 20)
"""


def run(**variables: str) -> tuple[bool, int]:
    """Whether memory is kept, and MiB that were mapped anew in four steps of 64 MiB."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    told = subprocess.run(
        [sys.executable, "-c", _SCRIPT], env=own | variables, capture_output=True, text=True, check=True
    )
    kept, mapped = told.stdout.split()
    return kept == "True", int(mapped)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator of glibc")
def test_freed_memory_is_kept() -> None:
    kept, mapped = run()
    assert kept
    assert mapped < 16


def test_what_the_user_chose_stays() -> None:
    assert not run(MALLOC_TRIM_THRESHOLD_="131072")[0]
