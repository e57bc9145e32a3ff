"""Differential test of partition: random programs, meshes and shardings, on all devices against one.

Run with `python bench/differential.py --cases 1000 --seed 0`. Prints one JSON object: cases, mismatches (with their
seeds), seconds, and how many of 1,000 cases reach each mechanism; every mismatch is told on stderr with its program.
Exit code 1 when there is one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from random import Random
from time import perf_counter

from jogak.errors import JogakError
from jogak.testing.differential import Mismatch, check_case, random_case
from jogak.testing.random_ops import random_program


def check_seed(seed: int, most_ops: int, reached: Counter[str]) -> str | None:
    """Run the case of one seed; returns what went wrong, with the program, or None.

    Args:
        reached: counts the cases that reach each mechanism.
    """
    random = Random(seed)
    case = random_case(random, random_program(random, random.randint(1, most_ops)))
    try:
        mismatch = check_case(case, lambda mechanism: reached.update([mechanism]))
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
    reached: Counter[str] = Counter()
    for seed in range(options.seed, options.seed + options.cases):
        told = check_seed(seed, options.ops, reached)
        if told:
            wrong.append(seed)
            print(told, file=sys.stderr)
    seconds = round(perf_counter() - start, 1)
    rates = {name: round(1000 * count / options.cases) for name, count in sorted(reached.items())}
    told = {"cases": options.cases, "mismatches": len(wrong), "seeds": wrong, "seconds": seconds, "per_1000": rates}
    print(json.dumps(told))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
