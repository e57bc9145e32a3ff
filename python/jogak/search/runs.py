"""Layers of a program as parts of a sequence that repeat with a period, wherever they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_FEWEST = 3
"""Repeats of a run."""
_SHORTEST = 3
"""Ops that a repeated part has at least."""
_FREQUENT = 24
"""Distances that are tried as periods because many ops come again after them."""


def find_runs(sequence: Sequence[int]) -> list[tuple[int, int, int]]:
    """Parts of a sequence that repeat: (start, period, repeats), longest first, without overlap.

    Runs of more than two periods are worth folding; a run covers whole repeats only.
    """
    found: list[tuple[int, int, int]] = []
    symbols = np.array(sequence, dtype=np.int64)
    taken = np.zeros(len(symbols), np.bool_)
    candidates = sorted(
        (run for period in _periods(sequence) for run in _runs_of(symbols, period)),
        key=lambda run: (-run[1] * run[2], run[1], run[0]),
    )
    for start, period, repeats in candidates:
        begin, end = _free_part(taken, start, start + period * repeats)
        count = (end - begin) // period
        if count >= _FEWEST:
            found.append((begin, period, count))
            taken[begin : begin + period * count] = True
    return found


def _free_part(taken: NDArray[np.bool_], start: int, end: int) -> tuple[int, int]:
    """The longest stretch of a range that no run has yet; an empty one where all of it is taken."""
    occupied = np.concatenate([[start - 1], start + np.flatnonzero(taken[start:end]), [end]])
    widest = int(np.argmax(np.diff(occupied)))
    return int(occupied[widest]) + 1, int(occupied[widest + 1])


def _periods(sequence: Sequence[int]) -> list[int]:
    """Distances at which ops come again: the most frequent ones, and those of ops that a layer holds once."""
    places: dict[int, list[int]] = {}
    for at, symbol in enumerate(sequence):
        places.setdefault(symbol, []).append(at)
    distances = Counter(after - before for found in places.values() for before, after in pairwise(found))
    # An op that a layer holds several times comes again within the layer; the period is the distance of others.
    frequent = {distance for distance, _ in distances.most_common(_FREQUENT)}
    again = {distance for distance, count in distances.items() if count >= _FEWEST}
    return sorted(distance for distance in frequent | again if distance >= _SHORTEST)


def _runs_of(symbols: Ints, period: int) -> list[tuple[int, int, int]]:
    """Maximal stretches in which every op equals the one a period later."""
    equal = symbols[:-period] == symbols[period:]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], equal, [False]])))
    found = []
    for start, end in edges.reshape(-1, 2).tolist():
        repeats = (end - start + period) // period
        if repeats >= _FEWEST:
            found.append((start, period, repeats))
    return found
