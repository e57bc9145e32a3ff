"""Machine code for the inner loops of the search.

The loops over cost tables run through numba. Every kernel that Python calls names its argument types, so that it is
compiled once, when its module is imported, and read from numba's cache afterwards. Kernels do not hold the
interpreter lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

P = ParamSpec("P")
R = TypeVar("R")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

INFINITY = np.inf


def kernel(signature: str | None = None, *, fast: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a function of numbers and numpy arrays to machine code.

    Args:
        signature: argument types in numba's notation ("f8[::1], i8[::1]"); None compiles when another kernel calls it.
        fast: promise that no value is not-a-number, which lets minima run on vectors.
    """
    options: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": {"nnan", "nsz"} if fast else False}

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        compile_ = numba.njit(f"({signature})", **options) if signature else numba.njit(**options)
        compiled: Callable[P, R] = compile_(function)
        return compiled

    return decorate
