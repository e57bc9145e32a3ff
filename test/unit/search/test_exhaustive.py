"""The whole search against enumeration, with and without its own complete enumeration of small problems."""

from __future__ import annotations

import random

import pytest

from jogak.search import solve as search
from jogak.search.exhaustive import best_by_enumeration, random_problem
from jogak.search.problem import evaluate, is_feasible
from jogak.search.solve import solve_problem


@pytest.mark.parametrize("enumerate_small", [True, False])
def test_small_problems_are_solved_to_optimality(monkeypatch: pytest.MonkeyPatch, enumerate_small: bool) -> None:
    if not enumerate_small:
        monkeypatch.setattr(search, "_SMALL", -1)
    generator = random.Random(7)
    infeasible = 0
    for _ in range(150):
        problem = random_problem(generator, nodes=7, strategies=4)
        expected = best_by_enumeration(problem)
        solution = solve_problem(problem, time_limit=20)
        assert solution.cost == expected
        assert solution.feasible == (expected is not None)
        if expected is None:
            infeasible += 1
            continue
        assert solution.choice is not None
        assert is_feasible(problem, solution.choice)
        assert evaluate(problem, solution.choice)[0] == expected
        assert solution.lower_bound is not None
        assert solution.lower_bound <= expected
    assert infeasible > 5
