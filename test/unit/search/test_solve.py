"""The search on problems with known answers, and what it does when time is short or it is interrupted."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jogak.errors import JogakError
from jogak.search.formats import read_problem
from jogak.search.incumbent import Progress
from jogak.search.problem import FORBIDDEN, Problem, Row, check_problem, evaluate, is_feasible
from jogak.search.solve import solve_problem


def xla_request(limit: int = 1_500_000) -> Problem:
    """The default request of XLA's auto-sharding solver tests (openxla/xla, `auto_sharding_solver_test.cc`).

    Node 3 follows node 2, and nodes 1 and 4 are aliases: both are cost tables here. The intervals are XLA's live
    sets, of which node 4 is in none.
    """
    communication = [[100, 110, 120, 130], [200, 210, 220], [300, 310, 320, 330], [400, 410, 420, 430], [500, 510, 520]]
    costs = [[d + d // 10 for d in row] for row in communication]
    usages = [[d * 1000 for d in row] for row in communication]
    usages[0][2] = 990_000
    first = [1000 * (s + 1) + 100 * t for s in range(4) for t in range(4)]
    second = [1000 * (s + 5) + 100 * t for s in range(3) for t in range(4)]
    follow = [0 if s == t else FORBIDDEN for s in range(4) for t in range(4)]
    alias = [0 if s == t else FORBIDDEN for s in range(3) for t in range(3)]
    edges = [(0, 2), (1, 2), (2, 3), (1, 4)]
    intervals = [(0, 5), (0, 5), (2, 4), (3, 5), (5, 5)]
    return Problem(costs, usages, intervals, edges, [first, second, follow, alias], limit)


def layered_problem(layers: int, limit: int) -> Problem:
    """A chain of nodes with skip connections: too many nodes to enumerate."""
    generator = random.Random(3)
    costs = [[generator.randint(0, 1000) for _ in range(6)] for _ in range(layers)]
    usages = [[1200 - cost // 2 + generator.randint(0, 200) for cost in row] for row in costs]
    intervals = [(i, min(i + generator.choice([2, 3, 40]), layers)) for i in range(layers)]
    edges = [(i, i + step) for step in (1, 2, 5) for i in range(layers - step)]
    tables = [[generator.randint(0, 500) for _ in range(36)] for _ in edges]
    return Problem(costs, usages, intervals, edges, tables, limit)


def test_xla_request_has_the_published_optimum() -> None:
    solution = solve_problem(xla_request(), time_limit=20)
    assert (solution.cost, solution.lower_bound, solution.choice) == (7650, 7650, (0, 0, 0, 0, 0))


def test_too_little_memory_is_proven_infeasible() -> None:
    solution = solve_problem(xla_request(limit=500_000), time_limit=20)
    assert solution.feasible is False
    assert solution.cost is None


def test_a_problem_without_nodes_costs_nothing() -> None:
    solution = solve_problem(Problem([], [], [], [], [], 0), time_limit=20)
    assert (solution.cost, solution.lower_bound, solution.choice) == (0, 0, ())


@pytest.mark.slow
def test_large_problem_reports_valid_cost_and_bound_under_the_limit() -> None:
    problem = layered_problem(150, 14_000)
    steps: list[Progress] = []
    solution = solve_problem(problem, time_limit=3, progress=steps.append)
    assert solution.choice is not None
    assert solution.lower_bound is not None
    assert is_feasible(problem, solution.choice)
    cost, peak = evaluate(problem, solution.choice)
    assert cost == solution.cost
    assert peak <= 14_000
    assert solution.lower_bound <= cost
    bounds = [step.lower_bound for step in steps if step.lower_bound is not None]
    assert bounds == sorted(bounds)
    unlimited = solve_problem(Problem(**{**vars(problem), "limit": None}), time_limit=3)
    assert unlimited.cost is not None
    assert unlimited.cost <= cost


def test_interrupt_returns_the_best_choice_so_far() -> None:
    problem = layered_problem(150, 14_000)

    def interrupt(step: Progress) -> None:
        if step.cost is not None:
            raise KeyboardInterrupt

    solution = solve_problem(problem, time_limit=60, progress=interrupt)
    assert solution.choice is not None
    assert is_feasible(problem, solution.choice)


def test_sums_beyond_64_bits_are_exact() -> None:
    problem = Problem([[FORBIDDEN]] * 20, [[0]] * 20, [(0, 0)] * 20, [], [], 1)
    assert evaluate(problem, [0] * 20) == (20 * FORBIDDEN, 0)
    assert solve_problem(problem, time_limit=20).feasible is False


def document(**changes: Any) -> dict[str, Any]:
    problem: dict[str, Any] = {
        "nodes": {"intervals": [[0, 2], [1, 3]], "costs": [[1, 2], [3]], "usages": [[5, 1], [5]]},
        "edges": {"nodes": [[0, 1]], "costs": [[0, 7]]},
        "usage_limit": 6,
    }
    problem.update(changes)
    return {"problem": problem}


@pytest.mark.parametrize("compress", [True, False])
def test_files_are_read_plain_and_compressed(tmp_path: Path, compress: bool) -> None:
    text = json.dumps(document()).encode()
    path = tmp_path / "p.json"
    path.write_bytes(gzip.compress(text) if compress else text)
    solution = solve_problem(read_problem(path), time_limit=20)
    assert (solution.cost, solution.choice) == (12, (1, 0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON file"),
        ("[]", "no such key"),
        ('{"problem": {"nodes": {}}}', "no such key"),
        (json.dumps(document(edges={"nodes": [[0, 1]], "costs": [[0]]})), "edge 0 has 1 costs"),
        (json.dumps(document(edges={"nodes": [[0, 2]], "costs": [[0, 0]]})), "edge 0 joins nodes 0 and 2"),
        (json.dumps(document(edges={"nodes": [[0]], "costs": [[0, 0]]})), "does not hold pairs"),
        (json.dumps(document(usage_limit="many")), "usage_limit is not an integer"),
        (json.dumps(document(edges={"nodes": [[0, 1]], "costs": [[0.5, 0]]})), "not a list of lists of integers"),
    ],
)
def test_broken_files_are_errors_with_a_location(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(JogakError, match=message) as caught:
        read_problem(path)
    assert caught.value.where == str(path)


def test_nodes_need_one_usage_per_strategy() -> None:
    with pytest.raises(JogakError, match="node 0 has 2 costs and 1 usages"):
        check_problem(Problem([[1, 2]], [[1]], [(0, 1)], [], [], 1))


def test_a_node_may_occupy_different_amounts_in_several_intervals() -> None:
    costs, usages = [[1, 10], [1, 5]], [[4, 2], [3, 1]]
    intervals, extra = [(0, 2), (4, 6)], [(0, (2, 4), [9, 1]), (0, (5, 7), [6, 2]), (1, (2, 3), [0, 0])]
    problem = Problem(costs, usages, intervals, [], [], None, extra)
    assert evaluate(problem, [0, 0]) == (2, 9)
    assert evaluate(problem, [1, 0]) == (11, 5)
    optima = {limit: solve_problem(replace(problem, limit=limit), time_limit=20).cost for limit in (9, 8, 4, 3, 2)}
    assert optima == {9: 2, 8: 11, 4: 15, 3: 15, 2: None}


@pytest.mark.parametrize(("row", "message"), [((2, (0, 1), [1]), "node 2, which"), ((1, (0, 1), [1, 2]), "2 usages")])
def test_extra_rows_belong_to_a_node_and_have_one_usage_per_strategy(row: Row, message: str) -> None:
    with pytest.raises(JogakError, match=message):
        check_problem(Problem([[1, 2], [3]], [[0, 0], [0]], [(0, 1)] * 2, [], [], 1, [row]))


def test_costs_may_be_arrays() -> None:
    lists = layered_problem(8, 9_000)
    arrays = {name: [np.array(row) for row in getattr(lists, name)] for name in ("costs", "usages", "edge_costs")}
    one, other = (solve_problem(problem, time_limit=20) for problem in (lists, replace(lists, **arrays)))
    assert one.cost is not None
    assert (one.cost, one.choice) == (other.cost, other.choice)


def test_initial_choices_are_kept_or_improved() -> None:
    problem = layered_problem(150, 14_000)
    first = solve_problem(problem, time_limit=20, target_gap=0.2)
    assert first.choice is not None
    steps: list[Progress] = []
    again = solve_problem(problem, time_limit=20, target_gap=0.2, initial=[first.choice], progress=steps.append)
    assert steps[0].cost == first.cost
    assert first.cost is not None
    assert again.cost is not None
    assert again.cost <= first.cost
    for choice, message in (([0, 0], "for 2 of 150 nodes"), ([9] * 150, "strategy 9 of the 6 of node 0")):
        with pytest.raises(JogakError, match=message):
            solve_problem(problem, time_limit=20, initial=[choice])


def test_search_stops_at_the_target_gap_and_repeats_itself() -> None:
    problem = layered_problem(150, 14_000)
    one, other = (solve_problem(problem, time_limit=600, target_gap=0.2, seed=3) for _ in range(2))
    assert one.gap is not None
    assert 0 < one.gap <= 0.2
    assert (one.cost, one.lower_bound, one.choice) == (other.cost, other.lower_bound, other.choice)
