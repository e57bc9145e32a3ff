"""Packing on MiniMalloc's instances: `python bench/packing.py FOLDER` with the folder of their CSV files.

Prints height over lower bound, whether it fits the capacity, and seconds. FOLDER is not part of the repository: the
files are benchmarks/challenging of github.com/google/minimalloc. The published C++ tree search takes 0.9 to 9.1 s for
each of A to F; greedy by size needs 1.29 to 1.37 times the bound.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jogak.memory.packing import find_overlap, pack
from jogak.memory.packing.formats import read_buffers


def main() -> None:
    """Print one line for each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--capacity", type=int, default=1_048_576)
    parser.add_argument("--time-limit", type=float, default=10.0)
    options = parser.parse_args()
    print(f"{'file':12} {'buffers':>8} {'bound':>10} {'height':>10} {'ratio':>7} {'fits':>5} {'optimal':>8} {'s':>6}")
    for path in sorted(options.folder.glob("*.csv")):
        buffers = read_buffers(path)
        found = pack(buffers, options.capacity, options.time_limit)
        fits = found.height <= options.capacity and find_overlap(buffers, found.offsets) is None
        print(
            f"{path.stem:12} {len(buffers):8} {found.lower_bound:10} {found.height:10} "
            f"{found.height / max(found.lower_bound, 1):7.4f} {fits!s:>5} {found.optimal!s:>8} {found.seconds:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
