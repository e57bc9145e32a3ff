"""Memory that a step frees stays with the process: the next step takes the same again.

The allocator of glibc gives free memory at the end of its heap back to the kernel, and takes large pieces from it one
by one. In a training step that happens to all gradients, every time; each page of them is cleared and mapped anew.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

_TRIM, _MAP = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h."""
_NEVER = 2**31 - 1
_LARGEST = 32 << 20
"""Bytes from which on pieces come from the kernel one by one: more, glibc does not take."""
_CHOSEN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""Variables with which a user says what the allocator does."""


@cache
def keep_memory() -> bool:
    """Keep free memory in this process, where its allocator is glibc's and nobody said otherwise; whether it does."""
    if any(name in os.environ for name in _CHOSEN):
        return False
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - only glibc has it
    except (AttributeError, OSError, TypeError):
        return False
    return bool(library.mallopt(_TRIM, _NEVER)) and bool(library.mallopt(_MAP, _LARGEST))
