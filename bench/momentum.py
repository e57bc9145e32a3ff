"""What momentum does for the lower bound: `python bench/momentum.py FOLDER [NAME ...]`.

For each contest instance in FOLDER (M and S by default): the bound, in billions, after so many rounds of message
passing without momentum and with it, nothing else: no choices are looked for.
"""

from __future__ import annotations

import sys
from pathlib import Path

from jogak.search.bounds import Dual
from jogak.search.flat import flatten
from jogak.search.formats import read_problem
from jogak.search.preparation import prepare

ROUNDS = (50, 100, 200, 400)


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:] or ["M", "S"]
    print("instance | rounds | without | with")
    for name in names:
        reduced = prepare(*flatten(read_problem(folder / f"{name}.json.gz"))).reduced
        plain, quick = Dual(reduced.graph, reduced.memory, momentum=0.0), Dual(reduced.graph, reduced.memory)
        for rounds in range(1, max(ROUNDS) + 1):
            plain.iterate()
            quick.iterate()
            if rounds in ROUNDS:
                print(f"{name} | {rounds} | {plain.bound / 1e9:.4f} | {quick.bound / 1e9:.4f}", flush=True)


if __name__ == "__main__":
    main()
