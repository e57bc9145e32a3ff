"""Graphs and sequences as plain data: the definition of the peak, orders, files, budgets."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations

import pytest

from jogak.errors import JogakError
from jogak.memory.budget import parse_budget
from jogak.memory.remat import RematGraph, check_graph, minimum_peak, simulate_sequence
from jogak.memory.remat.formats import read_graph
from jogak.memory.remat.order import low_order
from jogak.memory.remat.segments import cheapest_segments
from jogak.memory.remat.sequence import without_waste

DIAMOND = RematGraph([1, 2, 3, 4], [10, 1, 1, 5], [(0, 1), (0, 2), (1, 3), (2, 3)])


def test_a_value_lives_until_its_last_reader():
    found = simulate_sequence(DIAMOND, [0, 1, 2, 3])
    assert found.live == [10, 11, 12, 7]
    assert (found.peak, found.cost) == (12, 10)


def test_a_repeat_ends_the_first_life_at_the_last_reader_before_it():
    found = simulate_sequence(DIAMOND, [0, 1, 0, 2, 3])
    assert found.live == [10, 11, 11, 12, 7]
    assert found.cost == 11


def test_scratch_counts_only_while_its_node_runs():
    graph = RematGraph([1, 1], [1, 1], [(0, 1)], scratch=[5, 0])
    assert simulate_sequence(graph, [0, 1]).live == [6, 2]
    assert minimum_peak(graph) == 6


@pytest.mark.parametrize(
    ("sequence", "message"),
    [([0, 1, 3, 2], "node 3 reads 2"), ([0, 1, 2], "node 3 is never"), ([1, 0, 2, 3], "node 1 reads 0")],
)
def test_simulate_rejects(sequence, message):
    with pytest.raises(JogakError, match=message):
        simulate_sequence(DIAMOND, sequence)


def test_simulate_rejects_a_repeat_that_is_forbidden():
    graph = RematGraph([1, 1], [1, 1], [(0, 1)], once=frozenset({0}))
    with pytest.raises(JogakError, match="computed twice"):
        simulate_sequence(graph, [0, 0, 1])


def test_without_waste_drops_repeats_that_nobody_reads():
    assert without_waste(DIAMOND, [0, 1, 0, 2, 1, 3, 0]) == [0, 1, 0, 2, 1, 3]
    assert without_waste(DIAMOND, [0, 0, 1, 2, 3, 0]) == [0, 0, 1, 2, 3]


def test_order_keeps_to_the_input_order():
    graph = RematGraph([1] * 4, [1] * 4, DIAMOND.edges, input_order=[2, 0, 3, 1])
    assert graph.order == [0, 2, 1, 3]
    assert graph.in_order().edges == [(0, 2), (0, 1), (2, 3), (1, 3)]
    assert graph.in_order().names == [0, 2, 1, 3]


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (RematGraph([1, 1], [1], []), "different lengths"),
        (RematGraph([1, 1], [1, 1], [(0, 2)]), "leads to no node"),
        (RematGraph([1, -1], [1, 1], []), "negative"),
        (RematGraph([1, float("nan")], [1, 1], []), "negative"),
        (RematGraph([1, 1], [1, 1], [(0, 1), (1, 0)]), "cycle: 0 -> 1 -> 0"),
        (RematGraph([1, 1], [1, 1], [], input_order=[0, 0]), "every node once"),
    ],
)
def test_check_graph_rejects(graph, message):
    with pytest.raises(JogakError, match=message):
        check_graph(graph)


@pytest.mark.parametrize("seed", range(30))
def test_low_order_is_the_lowest_of_all_orders(random_graph, seed):
    graph = random_graph(6, seed, scratch=seed % 2 == 0)
    place = [{node: step for step, node in enumerate(order)} for order in permutations(range(6))]
    valid = [sorted(p, key=p.__getitem__) for p in place if all(p[a] < p[b] for a, b in graph.edges)]
    found = low_order(graph)
    assert found.optimal
    assert found.peak == min(simulate_sequence(graph, order).peak for order in valid)
    assert found.peak == simulate_sequence(graph, found.order).peak


def test_low_order_with_a_narrow_beam_proves_nothing_and_is_not_worse(random_graph):
    graph = random_graph(40, 1)
    found = low_order(graph, width=2)
    assert not found.optimal
    assert found.peak <= simulate_sequence(graph, range(40)).peak


@pytest.mark.parametrize("seed", range(10))
def test_segments_are_valid_plans(random_graph, seed):
    graph = random_graph(40, seed)
    base = simulate_sequence(graph, range(40))
    plan = simulate_sequence(graph, cheapest_segments(graph, range(40), minimum_peak(graph)))
    assert plan.peak <= base.peak
    assert cheapest_segments(graph, range(40), base.peak) == list(range(40))


def write(tmp_path, data):
    path = tmp_path / "graph.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_read_graph_in_both_spellings(tmp_path):
    nodes = [{"id": "a", "cost_cpu": 1, "cost_ram": 2}, {"id": "b", "cost_cpu": 3, "cost_ram": 4}]
    first = read_graph(write(tmp_path, {"nodes": nodes, "links": [{"source": "a", "target": "b"}]}))
    nodes = [{"name": 0, "duration": 1, "out_cost": 2}, {"name": 1, "duration": 3, "out_cost": 4}]
    links = [{"0": 1, "1": 0}]
    second = read_graph(write(tmp_path, {"nodes": nodes, "links": links, "graph": {"order": [1, 0]}}))
    assert (first.cost, first.size, first.edges, first.names) == ([1, 3], [2, 4], [(0, 1)], ["a", "b"])
    assert (second.edges, second.order) == ([(1, 0)], [1, 0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "not a JSON file"),
        ([], "not a list of objects"),
        ({"nodes": [{"id": 1, "cost": 1}], "links": []}, "node 1: no 'cost_cpu' or 'duration'"),
        ({"nodes": [{"id": [], "cost_cpu": 1}], "links": []}, "neither a string nor an integer"),
        ({"nodes": [{"id": 1, "cost_cpu": "x", "cost_ram": 1}], "links": []}, "'x' is not a number"),
        ({"nodes": [{"id": 1, "cost_cpu": 1, "cost_ram": 1.5}], "links": []}, "whole number of bytes"),
        ({"nodes": [{"id": 1, "cost_cpu": 1, "cost_ram": 1}] * 2, "links": []}, "two nodes are called 1"),
        ({"nodes": [], "links": [{"source": 1, "target": 2}]}, "no node 1"),
        ({"nodes": [], "links": [{"from": 1}]}, "no 'source' and 'target'"),
    ],
)
def test_read_graph_says_what_is_wrong(tmp_path, data, message):
    with pytest.raises(JogakError, match=message):
        read_graph(write(tmp_path, data))


@pytest.mark.parametrize(
    ("text", "bytes_"), [("100", 100), ("1.5KiB", 1536), ("2 GiB", 2**31), ("0.7x", 70), ("0.29x", 29)]
)
def test_parse_budget(text, bytes_):
    assert parse_budget(text, 100, "--memory") == bytes_


@pytest.mark.parametrize("text", ["", "x", "-1", "5GB", "1e3", "nanx"])
def test_parse_budget_rejects(text):
    with pytest.raises(JogakError, match="--memory: cannot read"):
        parse_budget(text, 100, "--memory")


def test_a_node_with_two_values_drops_them_one_by_one():
    graph = RematGraph([1, 1, 1], [4, 1, 1], [(0, 1), (3, 2), (1, 2)], extra=[(0, 10)])
    assert simulate_sequence(graph, [0, 1, 2]).live == [14, 15, 12]
    assert minimum_peak(graph) == 14
    assert simulate_sequence(replace(graph, fixed=5), [0, 1, 2]).live == [19, 20, 17]


def test_rules_of_a_sequence():
    graph = RematGraph([0, 1, 1], [4, 1, 0], [(0, 1), (0, 2)], before=[(1, 2)], arguments=frozenset([0]))
    assert simulate_sequence(graph, [0, 1, 2]).peak == 5
    with pytest.raises(JogakError, match="node 1 comes after 2"):
        simulate_sequence(graph, [0, 1, 2, 1])
    with pytest.raises(JogakError, match="node 0 is computed twice"):
        simulate_sequence(graph, [0, 0, 1, 2])
    late = replace(graph, edges=[(0, 2)])
    with pytest.raises(JogakError, match="argument 0 is not at the start"):
        simulate_sequence(late, [1, 0, 2])
    assert replace(late, input_order=[1, 0, 2]).order == [0, 1, 2]
    with pytest.raises(JogakError, match="argument 0 reads"):
        check_graph(replace(graph, edges=[(1, 0)]))
    with pytest.raises(JogakError, match="cycle"):
        check_graph(replace(graph, before=[(1, 2), (2, 1)]))
