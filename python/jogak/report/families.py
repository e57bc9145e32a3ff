"""Names that differ only in layer numbers, written once: `blocks.{0..11}.mlp.down`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product


def template_of(name: str) -> str:
    """A dotted name with every number in it replaced: what names of repeated layers have in common."""
    return ".".join("{}" if part.isdecimal() else part for part in name.split("."))


def family(names: Iterable[str]) -> str:
    """One text for names with one template; a list where the numbers in them are no full grid."""
    distinct = list(dict.fromkeys(names))
    found = [_numbers(name) for name in distinct]
    columns = [sorted(set(column)) for column in zip(*found, strict=True)]
    if set(found) != set(product(*columns)):
        return ", ".join(distinct)
    braces = iter(_range(column) for column in columns)
    parts = template_of(distinct[0]).split(".")
    return ".".join(next(braces) if part == "{}" else part for part in parts)


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split(".") if part.isdecimal())


def _range(numbers: Sequence[int]) -> str:
    first, last = numbers[0], numbers[-1]
    if first == last:
        return str(first)
    if len(numbers) > 2 and list(numbers) == list(range(first, last + 1)):
        return f"{{{first}..{last}}}"
    return f"{{{','.join(map(str, numbers))}}}"
