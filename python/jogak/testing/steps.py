"""A step for tests that only look at what it reads and makes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """A step without a kind: values that it reads and makes."""

    operands: tuple[int, ...]
    results: tuple[int, ...]
    location: str = ""
    frees: tuple[int, ...] = ()
