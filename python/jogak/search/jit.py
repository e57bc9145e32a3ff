"""Machine code for the inner loops of the search.

The loops over arrays run through numba. A `kernel` has the types of its annotations, so that it is compiled once, when
its module is imported (no time limit pays for it), and read from numba's cache afterwards. A `helper` is compiled when
it is called first: a part of kernels, or what few programs need. Arrays that belong together travel as one named tuple.
None of them holds the interpreter lock. Loops that run often take a tuple apart before they begin: numba counts
references at each access to a field.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, get_type_hints

import numba
import numpy as np
from numpy.typing import NDArray

P = ParamSpec("P")
R = TypeVar("R")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]

INFINITY = np.inf

_TYPES: dict[Any, Any] = {
    int: numba.int64,
    float: numba.float64,
    bool: numba.boolean,
    Ints: numba.int64[::1],
    Floats: numba.float64[::1],
    Bools: numba.boolean[::1],
    Matrix: numba.float64[:, ::1],
}


def kernel(*, fast: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a function of numbers, contiguous arrays and named tuples of such arrays to machine code.

    Args:
        fast: promise that no value is not-a-number, which lets minima run on vectors.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        hints = get_type_hints(function)
        hints.pop("return", None)
        compiled: Callable[P, R] = numba.njit(tuple(map(_numba_type, hints.values())), **_options(fast))(function)
        return compiled

    return decorate


def helper(*, fast: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The same for the types of the first call; what it is for stands above."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        compiled: Callable[P, R] = numba.njit(**_options(fast))(function)
        return compiled

    return decorate


def _options(fast: bool) -> dict[str, Any]:
    return {"cache": True, "nogil": True, "fastmath": {"nnan", "nsz"} if fast else False}


def _numba_type(hint: Any) -> Any:
    if hint in _TYPES:
        return _TYPES[hint]
    fields = [_numba_type(each) for each in get_type_hints(hint).values()]
    tuples: Any = numba.types.BaseTuple
    return tuples.from_types(fields, hint)
