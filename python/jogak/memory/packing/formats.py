"""Buffers in CSV files: `id,lower,upper,size`, as google/minimalloc publishes its benchmarks."""

from __future__ import annotations

import csv
from pathlib import Path

from jogak.errors import JogakError
from jogak.memory.packing.buffers import Buffer

COLUMNS = ("id", "lower", "upper", "size")
_HINT = "the first line is id,lower,upper,size; a buffer lives in the half-open interval [lower, upper)"


def read_buffers(path: Path) -> list[Buffer]:
    """Read the buffers of a CSV file; its columns may come in any order.

    Raises:
        JogakError: the file cannot be read, a column is missing or unknown, or a value is no integer.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise JogakError(f"cannot read the buffers: {error}", where=str(path)) from error
    if not rows:
        raise JogakError("the file is empty", where=str(path), hint=_HINT)
    header = [cell.strip() for cell in rows[0]]
    if sorted(header) != sorted(COLUMNS):
        raise JogakError(f"the columns are {','.join(header)}", where=f"{path}:1", hint=_HINT)
    lines = ((line, row) for line, row in enumerate(rows[1:], start=2) if row)
    return [_buffer(header, row, f"{path}:{line}") for line, row in lines]


def _buffer(header: list[str], row: list[str], where: str) -> Buffer:
    if len(row) != len(header):
        raise JogakError(f"{len(row)} values for {len(header)} columns", where=where, hint=_HINT)
    cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
    try:
        return Buffer(cells["id"], int(cells["lower"]), int(cells["upper"]), int(cells["size"]))
    except ValueError as error:
        raise JogakError(f"not an integer: {error}", where=where, hint=_HINT) from error
