"""`lay_out` as machine code: live bytes and lifetimes of a sequence, thousands of times a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jogak.memory.tape import Tape
from jogak.search.jit import Bools, Ints, kernel


class Arrays(NamedTuple):
    """A tape as compressed rows: reads and writes of each step, and for each write what it may be written over."""

    read_start: Ints
    read: Ints
    write_start: Ints
    write: Ints
    reuse_start: Ints
    reuse: Ints
    sizes: Ints
    arguments: int
    result: Bools


class Trace(NamedTuple):
    """What happens along a sequence; computations of values (instances) are numbered, arguments first.

    Attributes:
        live: bytes alive at each position.
        value: the value of each instance.
        first, last: the positions of its computation and its last read; the length of the sequence for a result.
    """

    live: Ints
    value: Ints
    first: Ints
    last: Ints

    @property
    def peak(self) -> int:
        return int(self.live.max(initial=0))


def arrays_of(tape: Tape) -> Arrays:
    """The arrays of a tape."""
    reuse = [
        candidates
        for step in tape.steps
        for candidates in (step.reuse if step.reuse else tuple(() for _ in step.writes))
    ]
    result = np.zeros(len(tape.sizes), dtype=np.bool_)
    result[list(tape.results)] = True
    reads, writes = _rows([step.reads for step in tape.steps]), _rows([step.writes for step in tape.steps])
    return Arrays(*reads, *writes, *_rows(reuse), np.asarray(tape.sizes, dtype=np.int64), tape.arguments, result)


def _rows(rows: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    start = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return start, np.asarray([item for row in rows for item in row], dtype=np.int64)


def trace(arrays: Arrays, sequence: Sequence[int] | Ints) -> Trace:
    """Live bytes and lifetimes of a sequence, by the rules of `jogak.memory.tape`."""
    order = np.asarray(sequence, dtype=np.int64)
    made = arrays.arguments + int(np.sum(arrays.write_start[order + 1] - arrays.write_start[order]))
    live = np.zeros(len(order) + 2, dtype=np.int64)
    value, first, last = (np.full(made, -1, dtype=np.int64) for _ in range(3))
    _trace(order, arrays, Trace(live, value, first, last))
    return Trace(live[: len(order)], value, first, last)


@kernel()
def _trace(order: Ints, arrays: Arrays, out: Trace) -> None:
    read_start, read, write_start, write, reuse_start, reuse, sizes, arguments, result = arrays
    live, value, first, last = out
    current = np.full(len(sizes), -1, dtype=np.int64)
    for v in range(arguments):
        current[v] = v
        value[v] = v
        live[0] += sizes[v]
    count = arguments
    for p in range(len(order)):
        s = order[p]
        for k in range(read_start[s], read_start[s + 1]):
            last[current[read[k]]] = p
        for k in range(write_start[s], write_start[s + 1]):
            value[count] = write[k]
            first[count] = p
            last[count] = p
            current[write[k]] = count
            count += 1
    for v in range(len(sizes)):
        if result[v]:
            last[current[v]] = len(order)
    for v in range(len(sizes)):
        current[v] = v if v < arguments else -1
    taken = np.zeros(count, dtype=np.bool_)
    count = arguments
    for p in range(len(order)):
        s = order[p]
        start = count
        for k in range(write_start[s], write_start[s + 1]):
            size = sizes[write[k]]
            found = False
            for c in range(reuse_start[k], reuse_start[k + 1]):
                old = current[reuse[c]]
                if last[old] == p and sizes[reuse[c]] == size and size > 0 and not taken[old]:
                    taken[old] = True
                    found = True
                    break
            if not found:
                live[p] += size
            if found and old < arguments:
                taken[count] = True
            count += 1
        for k in range(start, count):
            current[value[k]] = k
    for k in range(arguments, count):
        if not taken[k] and last[k] < len(order):
            live[last[k] + 1] -= sizes[value[k]]
    for p in range(1, len(order)):
        live[p] += live[p - 1]
