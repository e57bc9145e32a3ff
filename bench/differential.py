"""Differential test of partition: random programs, meshes and shardings, on all devices against one.

Run with `python bench/differential.py --cases 1000 --seed 0`. Prints one JSON object: cases, mismatches (with their
seeds) and seconds; every mismatch is told on stderr with its program. Exit code 1 when there is one.
"""

from __future__ import annotations

import argparse
import json
import sys
from random import Random
from time import perf_counter

from jogak.errors import JogakError
from jogak.testing.differential import Mismatch, check_case, random_case
from jogak.testing.random_ops import random_program


def check_seed(seed: int, most_ops: int) -> str | None:
    """Run the case of one seed; returns what went wrong, with the program, or None."""
    random = Random(seed)
    case = random_case(random, random_program(random, random.randint(1, most_ops)))
    try:
        mismatch = check_case(case)
    except JogakError as error:
        mismatch = Mismatch(str(error))
    return f"seed {seed}: {mismatch.message}\n{case.annotated}" if mismatch else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="how many cases to run")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first case; the next ones count up")
    parser.add_argument("--ops", type=int, default=8, help="most ops in a program")
    options = parser.parse_args()
    start = perf_counter()
    wrong: list[int] = []
    for seed in range(options.seed, options.seed + options.cases):
        told = check_seed(seed, options.ops)
        if told:
            wrong.append(seed)
            print(told, file=sys.stderr)
    seconds = round(perf_counter() - start, 1)
    print(json.dumps({"cases": options.cases, "mismatches": len(wrong), "seeds": wrong, "seconds": seconds}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
