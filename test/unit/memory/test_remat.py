"""The rematerialization engine: known optima, two formulations, and what a budget promises."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from random import Random

import pytest

from jogak.cli.main import main
from jogak.memory.remat.chain import chain_graph, least_evaluations
from jogak.memory.remat.exact import solve_stages
from jogak.memory.remat.graph import RematGraph, minimum_peak
from jogak.memory.remat.intervals import solve_intervals
from jogak.memory.remat.sequence import simulate_sequence
from jogak.memory.remat.solve import solve_remat


def random_graph(seed: int, nodes: int = 8) -> RematGraph:
    random = Random(seed)
    edges = [(random.randrange(max(0, node - 4), node), node) for node in range(1, nodes)]
    edges += [(a, b) for a, b in product(range(nodes), repeat=2) if a < b and random.random() < 0.15]
    sizes = [random.randint(1, 9) for _ in range(nodes)]
    return RematGraph([float(random.randint(1, 9)) for _ in range(nodes)], sizes, edges)


@pytest.mark.parametrize(("slots", "evaluations"), [(12, 195), (10, 222), (5, 316)])
def test_chain_of_100_needs_what_the_closed_form_says(slots, evaluations):
    assert least_evaluations(100, slots) == evaluations


@pytest.mark.parametrize("seed", range(6))
def test_two_formulations_agree_and_plans_fit(seed):
    graph = random_graph(seed)
    base = simulate_sequence(graph, graph.order)
    for share in (1.0, 0.9, 0.8):
        budget = int(share * base.peak)
        found = solve_remat(graph, budget, fixed_order=True, time_limit=20)
        stages, intervals = solve_stages(graph, budget, 20), solve_intervals(graph, budget, 20)
        assert (stages.sequence is None) == (intervals.sequence is None) == (not found.feasible)
        if found.feasible:
            plan = simulate_sequence(graph, [int(str(node)) for node in found.sequence])
            assert plan.peak <= budget
            costs = [simulate_sequence(graph, each.sequence).cost for each in (stages, intervals)]
            assert costs == pytest.approx([plan.cost] * 2)


def test_nothing_fits_below_the_largest_step():
    graph = random_graph(3)
    found = solve_remat(graph, minimum_peak(graph) - 1)
    assert not found.feasible
    assert found.optimal
    assert found.minimum_peak_bound == minimum_peak(graph)


def test_a_larger_budget_never_costs_more():
    graph = chain_graph(12)
    base = simulate_sequence(graph, graph.order).peak
    added = [solve_remat(graph, budget, fixed_order=True).added_time_percent for budget in range(base, base // 2, -1)]
    known = [each for each in added if each is not None]
    assert known == sorted(known)
    assert known[0] == 0


def test_command_prints_one_object(tmp_path: Path, capsys):
    data = {
        "nodes": [{"id": i, "cost_cpu": 1, "cost_ram": 4} for i in range(4)],
        "links": [{"source": i, "target": i + 1} for i in range(3)],
    }
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(data))
    assert main(["remat", str(path), "--memory", "1.0x"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["peak"] == answer["base_peak"] == 8
    assert answer["added_time_percent"] == 0
    assert main(["remat", str(path), "--memory", "much"]) == 2
    assert "cannot read 'much' as a budget" in capsys.readouterr().err
