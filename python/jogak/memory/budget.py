"""Memory budgets as users write them."""

from __future__ import annotations

import re
from fractions import Fraction

from jogak.errors import UsageError

_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_HINT = "write bytes (1048576), bytes with a unit (1.5GiB), or a share of the base peak (0.8x)"


def parse_budget(text: str, base_peak: int, where: str) -> int:
    """Bytes that a text like `1048576`, `16GiB` or `0.8x` means; fractions of a byte are dropped.

    Args:
        text: what the user wrote.
        base_peak: bytes that `1x` means.
        where: the option, for the error.

    Raises:
        UsageError: the text is nothing of that.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if not match or match[2] not in {*_UNITS, "x"}:
        raise UsageError(f"cannot read {text!r} as a budget", where=where, hint=_HINT)
    unit = base_peak if match[2] == "x" else _UNITS[match[2]]
    return int(Fraction(match[1]) * unit)
