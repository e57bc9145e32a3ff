"""Solve many random small problems and compare each with enumeration: `python bench/oracle.py [COUNT] [SEED]`."""

from __future__ import annotations

import random
import sys
import time

from jogak.search.exhaustive import best_by_enumeration, random_problem
from jogak.search.problem import Problem, evaluate, is_feasible
from jogak.search.solve import solve_problem


def fault(problem: Problem) -> str | None:
    """What is wrong with the search's answer; None when it is right."""
    expected = best_by_enumeration(problem)
    solution = solve_problem(problem, time_limit=60)
    if expected is None:
        return None if solution.feasible is False else "infeasible, but not proven"
    if solution.choice is None or solution.cost is None or solution.lower_bound is None:
        return "no choice found"
    if not is_feasible(problem, solution.choice) or evaluate(problem, solution.choice)[0] != solution.cost:
        return "the choice is not what it is said to be"
    if solution.lower_bound > expected:
        return f"invalid bound {solution.lower_bound}: the optimum is {expected}"
    return None if solution.cost == expected else f"cost {solution.cost}: the optimum is {expected}"


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    generator = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    begun = time.monotonic()
    faults = [(i, text) for i in range(count) if (text := fault(random_problem(generator))) is not None]
    for i, text in faults:
        print(f"problem {i}: {text}")
    print(f"{count} problems, {len(faults)} wrong, {time.monotonic() - begun:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
