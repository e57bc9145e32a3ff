"""The table of the contest instances: `python bench/solve.py FOLDER [NAME ...]`.

FOLDER holds A.json.gz, G.json.gz, M.json.gz, S.json.gz; each is solved within half of the contest's time limit, with
reading the file. Each instance runs in a process of its own, as `jogak solve` would.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from pathlib import Path

# Name: contest's time limit in seconds, best cost of all contest teams, best cost known since, best bound known.
CONTEST = {
    "A": (60, 6_548_641_531, 6_548_641_531, 6_513_812_172),
    "G": (120, 217_039, 217_039, 217_039),
    "M": (180, 49_928_460_991, 49_928_157_500, 49_407_421_919),
    "S": (240, 1_534_613_444, 1_511_377_982, 1_511_240_136),
}


def solve_instance(path: Path, limit: float) -> str:
    """Solve one instance and return its row of the table."""
    start, processor = time.monotonic(), time.process_time()
    from jogak.search.formats import read_problem
    from jogak.search.incumbent import Progress
    from jogak.search.solve import solve_problem

    steps: list[Progress] = []
    problem = read_problem(path)
    solution = solve_problem(problem, time_limit=limit, progress=steps.append, start=start)
    name = path.name.split(".")[0]
    early = [min((p.cost for p in steps if p.cost is not None and p.seconds <= t), default=None) for t in (5, 15)]
    best = CONTEST[name][1] if name in CONTEST else None
    ratio = f"{solution.cost / best:.5f}" if solution.cost is not None and best is not None else "-"
    gap = "-" if solution.gap is None else f"{100 * solution.gap:.3f} %"
    cells = [name, *map(_number, early), _number(solution.cost), _number(solution.lower_bound), gap, ratio]
    used = time.process_time() - processor
    return " | ".join([*cells, f"{solution.seconds:.1f}", f"{used:.1f}", f"{os.getloadavg()[0]:.1f}"])


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:] or list(CONTEST)
    print("instance | at 5 s | at 15 s | cost | bound | gap | cost / contest's best | seconds | CPU seconds | load")
    for name in names:
        limit = CONTEST[name][0] / 2 if name in CONTEST else 60
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.apply(solve_instance, (folder / f"{name}.json.gz", limit)), flush=True)


if __name__ == "__main__":
    main()
