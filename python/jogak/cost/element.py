"""Element types: how many bytes a device needs for one element."""

from __future__ import annotations

import re
from functools import cache
from math import ceil

from jogak.errors import JogakError

_WIDTH = re.compile(r"(?:[su]?i|bf|f)(\d+)")


@cache
def element_size(element: str) -> int:
    """Bytes of one element as devices store it: whole bytes, so `i1` takes one.

    Args:
        element: element type as MLIR writes it (`f32`, `bf16`, `i1`, `f8E4M3FN`, `index`, `complex<f32>`).

    Raises:
        JogakError: the type has no size that is known.
    """
    if element == "index":
        return 8
    if element.startswith("complex<"):
        return 2 * element_size(element.removeprefix("complex<").removesuffix(">"))
    width = _WIDTH.match(element)
    if width is None:
        raise JogakError(
            f"the size of an element of type {element} is not known",
            hint="use a float, integer, index or complex element type",
        )
    return ceil(int(width[1]) / 8)
