"""Plans: within the budget, optimal where it is claimed, monotone in the budget, two formulations agree."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from jogak.errors import JogakError
from jogak.memory.remat import RematGraph, minimum_peak, simulate_sequence, solve_frontier, solve_remat
from jogak.memory.remat.anneal import anneal
from jogak.memory.remat.bound import added_cost_bound
from jogak.memory.remat.chain import chain_graph, find_chain, least_evaluations
from jogak.memory.remat.exact import solve_stages
from jogak.memory.remat.fast import _free, _stages
from jogak.memory.remat.intervals import solve_intervals
from jogak.memory.remat.sequence import comes_before
from jogak.memory.remat.states import solve_states
from jogak.memory.remat.timeline import read


def grid(graph, points=6):
    low, high = minimum_peak(graph), simulate_sequence(graph, range(len(graph))).peak
    return sorted({low - 1, *(low + (high - low) * point // points for point in range(points + 1))})


def added(result):
    return math.inf if result.added_time_percent is None else result.added_time_percent


@pytest.mark.parametrize("fixed_order", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_timeline_knows_the_peak_after_thousands_of_changes(random_graph, seed, fixed_order):
    graph = random_graph(30, seed, scratch=True)
    line = (_stages if fixed_order else _free)(graph, range(30))
    budget = simulate_sequence(graph, range(30)).peak * 3 // 4
    anneal(line, budget, 0, 5000, 5000, 1e-1, 1e-2, np.ones(1), line.slots.copy())
    sequence = read(line.slots)
    assert len(sequence) > 30
    found = simulate_sequence(graph, sequence)
    assert found.peak == line.live[1]
    assert found.cost == (line.cost * line.times).sum()
    firsts = list(dict.fromkeys(sequence))
    assert not fixed_order or firsts == list(range(30))


@pytest.mark.parametrize("fixed_order", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_the_timeline_knows_arguments_updates_and_further_values(training_graph, seed, fixed_order):
    graph = training_graph(30, seed).in_order()
    line = (_stages if fixed_order else _free)(graph, range(30))
    base = simulate_sequence(graph, range(30)).peak
    anneal(line, base // 2, 0, 5000, 5000, 1e-1, 1e-2, np.ones(1), line.slots.copy())
    sequence = read(line.slots)
    assert len(sequence) > 30
    assert simulate_sequence(graph, sequence).peak == line.live[1]


@pytest.mark.parametrize("fixed_order", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_plans_of_training_steps_keep_every_rule(training_graph, seed, fixed_order):
    graph = training_graph(14, seed)
    for budget in grid(graph.in_order(), 4):
        result = solve_remat(graph, budget, fixed_order=fixed_order, time_limit=5)
        assert not result.feasible or simulate_sequence(graph, result.sequence).peak == result.peak <= budget


@pytest.mark.parametrize("seed", range(12))
def test_formulations_agree_and_never_beat_brute_force(random_graph, least_cost, seed):
    graph = random_graph(7, seed, scratch=seed % 2 == 0)
    for budget in grid(graph, 4):
        stages = solve_stages(graph, budget, 30.0)
        assert stages.proven
        costs = [
            math.inf if found.sequence is None else simulate_sequence(graph, found.sequence).cost
            for found in (stages, solve_intervals(graph, budget, 30.0, computations=8))
        ]
        assert costs[0] == costs[1]
        assert costs[0] >= least_cost(graph, budget, fixed_order=True)
        for found in (stages, solve_intervals(graph, budget, 30.0, computations=8)):
            assert found.sequence is None or simulate_sequence(graph, found.sequence).peak <= budget


@pytest.mark.parametrize("seed", range(12))
def test_a_cap_that_is_enough_changes_nothing(random_graph, seed):
    graph = random_graph(9, seed)
    for budget in grid(graph, 4):
        free = solve_stages(graph, budget, 30.0)
        if free.sequence is None:
            continue
        cost = simulate_sequence(graph, free.sequence).cost
        cap = cost - graph.total_cost
        for solve in (solve_stages, solve_intervals):
            found = solve(graph, budget, 30.0, cap)
            assert found.sequence is not None
            assert simulate_sequence(graph, found.sequence).cost == cost
            assert found.proven
            assert found.bound == pytest.approx(cap)


@pytest.mark.parametrize("fixed_order", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_results_are_what_they_say(random_graph, least_cost, seed, fixed_order):
    graph = random_graph(7, seed)
    for budget in grid(graph):
        result = solve_remat(graph, budget, fixed_order=fixed_order)
        least = least_cost(graph, budget, fixed_order=fixed_order)
        assert result.minimum_peak_bound == minimum_peak(graph)
        if not result.feasible:
            assert (result.peak, result.sequence) == (None, [])
            assert fixed_order or least == math.inf
            continue
        found = simulate_sequence(graph, result.sequence)
        assert found.peak == result.peak <= budget
        assert added(result) == pytest.approx(100 * (found.cost / graph.total_cost - 1))
        assert result.lower_bound_percent <= added(result)
        assert found.cost >= least
        assert fixed_order or not result.optimal or found.cost == least
        assert fixed_order or result.lower_bound_percent <= 100 * (least / graph.total_cost - 1) + 1e-6


@pytest.mark.parametrize("make", ["random_graph", "training_graph"])
@pytest.mark.parametrize("seed", range(8))
def test_no_plan_goes_below_the_bound_of_single_moments(request, random_graph, seed, make):
    graph = request.getfixturevalue(make)(7 if make == "random_graph" else 12, seed).in_order()
    for budget in grid(graph, 4):
        moments = added_cost_bound(graph, budget)
        exact = solve_states(graph, budget, 2_000)
        assert not exact.proven or exact.bound >= moments.added - 1e-9
        for start in moments.starts:
            assert not comes_before(graph, start) or simulate_sequence(graph, start).cost >= graph.total_cost


def test_the_bound_of_single_moments_is_met_by_a_plan():
    edges = [(0, 1), (1, 2), (2, 3), (0, 4), (3, 4), (1, 5), (4, 5)]
    graph = RematGraph([3, 1, 4, 1, 1, 0], [5, 1, 9, 1, 4, 1], edges)
    assert added_cost_bound(graph, 11).added == pytest.approx(3)
    result = solve_remat(graph, 11, mode="fast")
    assert (result.optimal, result.added_time_percent) == (True, pytest.approx(30))
    assert result.sequence == [0, 1, 2, 3, 0, 4, 5]


@pytest.mark.parametrize("seed", range(8))
def test_fixed_order_keeps_the_order_and_is_proven(random_graph, seed):
    graph = replace(random_graph(9, seed), input_order=range(9))
    for budget in grid(graph):
        result = solve_remat(graph, budget, fixed_order=True)
        assert result.optimal
        assert not result.feasible or list(dict.fromkeys(result.sequence)) == graph.order


def monotone(results, budgets):
    costs = [added(result) for result in results]
    assert costs == sorted(costs, reverse=True)
    assert all(result.peak is None or result.peak <= budget for result, budget in zip(results, budgets, strict=True))


@pytest.mark.parametrize("seed", [0, 1, 2, 3, pytest.param(4, marks=pytest.mark.slow), 5])
def test_frontier_is_monotone(random_graph, seed):
    graph = random_graph(12, seed)
    base = simulate_sequence(graph, graph.order).peak
    budgets = [base * percent // 100 for percent in range(2, 101, 7)]
    monotone(solve_frontier(graph, budgets, mode="fast"), budgets)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(0, 50, 10))  # `bench/remat.py --frontier` runs all fifty
def test_a_budget_is_a_promise(random_graph, seed):
    graph = random_graph(10 + seed % 20, seed)
    base = simulate_sequence(graph, graph.order).peak
    budgets = [base * percent // 100 for percent in range(2, 101, 2)]
    monotone(solve_frontier(graph, budgets, fixed_order=seed % 2 == 0), budgets)


def test_frontier_keeps_the_order_of_its_budgets():
    graph = chain_graph(10)
    results = solve_frontier(graph, [12, 1, 5])
    assert [result.feasible for result in results] == [True, False, True]
    assert added(results[0]) < added(results[2])


def test_names_and_input_order_come_back():
    graph = RematGraph([1, 1, 1], [4, 1, 1], [(1, 2), (0, 2)], names=["x", "y", "z"], input_order=[1, 0, 2])
    assert solve_remat(graph, 100).sequence == ["y", "x", "z"]


def test_a_node_that_must_not_repeat_does_not():
    graph = RematGraph([1] * 4, [4, 4, 1, 1], [(0, 1), (1, 2), (0, 3), (2, 3)])
    assert solve_remat(graph, 8).sequence == [0, 1, 2, 0, 3]
    assert not solve_remat(replace(graph, once=frozenset([0])), 8).feasible
    for fixed_order in (False, True):
        repeated = RematGraph([1] * 5, [1, 9, 9, 1, 1], [(0, 1), (1, 2), (2, 3), (0, 4), (3, 4)])
        once = replace(repeated, once=frozenset(range(5)))
        assert solve_remat(repeated, 18, fixed_order=fixed_order).added_time_percent == pytest.approx(20)
        assert not solve_remat(once, 18, fixed_order=fixed_order).feasible


def test_exact_needs_a_fixed_order():
    with pytest.raises(JogakError, match="no exact mode for a free order"):
        solve_remat(chain_graph(5), 3, mode="exact")


@pytest.mark.parametrize(("slots", "evaluations"), [(20, 178), (12, 195), (10, 222), (8, 245), (5, 316), (3, 490)])
@pytest.mark.parametrize("fixed_order", [False, True])
def test_a_chain_takes_the_evaluations_of_its_closed_form(slots, evaluations, fixed_order):
    graph = chain_graph(100)
    result = solve_remat(graph, slots + 2, fixed_order=fixed_order)
    assert sum(1 for node in result.sequence if node < 99) == evaluations == least_evaluations(100, slots)
    assert result.optimal
    assert result.peak <= slots + 2


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_the_closed_form_is_the_optimum(least_cost, layers):
    graph = chain_graph(layers)
    for slots in (1, 2, 3):
        assert least_cost(graph, slots + 2, fixed_order=False) == least_evaluations(layers, slots)
    assert least_cost(graph, 2, fixed_order=False) == math.inf or layers == 2


def test_only_chains_are_taken_for_chains(random_graph):
    chain = chain_graph(8)
    assert find_chain(chain)
    assert not find_chain(replace(chain, cost=[2, *chain.cost[1:]]))
    assert not find_chain(replace(chain, size=[2, *chain.size[1:]]))
    assert not find_chain(replace(chain, edges=[*chain.edges, (0, 9)]))
    assert not find_chain(random_graph(16, 0))
