"""Repeated parts of a sequence of ops."""

from __future__ import annotations

from jogak.autoshard.folding import fold
from jogak.search.runs import find_runs
from jogak.sharding.graph import Graph, Node
from jogak.sharding.rule import Factor, OpShardingRule


def test_layers_between_other_ops_are_one_run():
    layer = [1, 2, 1, 3, 4]
    sequence = [9, 8, *layer * 6, 7, 5]
    assert find_runs(sequence) == [(2, 5, 6)]


def test_forward_and_backward_are_two_runs():
    sequence = [*[1, 2, 3] * 5, 9, *[4, 5, 6, 7] * 5]
    assert sorted(find_runs(sequence)) == [(0, 3, 5), (16, 4, 5)]


def test_two_repeats_are_no_run():
    assert find_runs([1, 2, 3, 1, 2, 3]) == []


def test_nothing_repeats():
    assert find_runs(list(range(50))) == []


def test_micro_batches_share_decisions_and_layers_fold_within_them() -> None:
    layer, layers, turns = ("a", "b", "c", "d"), 4, 3
    graph = Graph()
    value = graph.add_value((8, 8), "f32")
    graph.arguments = (value,)
    for turn in range(turns):
        previous = value
        for number in range(layers * len(layer)):
            rule = OpShardingRule((Factor(8), Factor(8)), (((0,), (1,)),), (((0,), (1,)),))
            made = graph.add_value((8, 8), "f32", producer=len(graph.nodes))
            op = layer[number % len(layer)]
            graph.nodes.append(Node(len(graph.nodes), op, rule, (previous,), (made,), part=(turn, number)))
            previous = made
    stands = fold(graph, {}).stands.tolist()
    assert set(stands) == set(range(2 * len(layer))), "two layers of the first micro-batch stand for all"
    assert stands[:16] == stands[16:32] == stands[32:]
    alone = fold(graph, {}, layers=False).stands.tolist()
    assert alone == list(range(16)) * turns
