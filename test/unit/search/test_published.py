"""Published answers of other solvers: nnScaler's dynamic programming (`tests/autodist/test_dp_solver.py` there)."""

from __future__ import annotations

from dataclasses import replace

from jogak.search.problem import Problem, Row, evaluate
from jogak.search.solve import solve_problem


def test_nnscaler_feed_forward_network() -> None:
    """Linear, relu, linear, two partitions each; times in tenths: 1 + 0.5 + 0.1 + 1 + 0.2 = 2.8."""
    costs, tables = [[10, 20], [5, 10], [10, 20]], [[1, 10, 10, 0], [2, 10, 10, 0]]
    problem = Problem(costs, [[1, 2]] * 3, [(0, 3)] * 3, [(0, 1), (1, 2)], tables, 80 * 1024)
    solution = solve_problem(problem, time_limit=20)
    assert (solution.cost, solution.lower_bound, solution.choice) == (28, 28, (0, 0, 0))


def test_nnscaler_memory_of_a_recomputed_chain() -> None:
    """35 of parameters + 9 of buffers + max(8 of activations, 15 of optimizer) + 12 recomputed = 71; time 1.5.

    Time 0 is the backward pass, time 1 the optimizer step.
    """
    parameters = [(i, (0, 2), [10 - (i + 1)]) for i in range(5)]
    buffers = [(i, (0, 2), [i + 1]) for i in (3, 4)]
    recomputed = [(i, (0, 2), [i + 1]) for i in (2, 3, 4)]
    activations = [(i, (0, 1), [i + 1]) for i in (0, 2, 3)]
    optimizer = [(i, (1, 2), [i + 1]) for i in range(5)]
    rows: list[Row] = [*parameters, *buffers, *recomputed, *activations, *optimizer]
    edges = [(i, i + 1) for i in range(4)]
    problem = Problem([[i + 1] for i in range(5)], [[0]] * 5, [(0, 0)] * 5, edges, [[0]] * 4, 100, rows)
    assert evaluate(problem, [0] * 5) == (15, 71)
    assert solve_problem(problem, time_limit=20).cost == 15
    assert solve_problem(replace(problem, limit=71), time_limit=20).feasible is True
    assert solve_problem(replace(problem, limit=70), time_limit=20).feasible is False


def test_nnscaler_finds_no_plan_where_none_exists() -> None:
    problem = Problem([[0], [0], [1]], [[8], [5], [11]], [(0, 3)] * 3, [], [], 10)
    assert solve_problem(problem, time_limit=20).feasible is False
