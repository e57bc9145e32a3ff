"""The search on small graphs: exhaustive enumeration agrees, constraints hold, memory limits hold."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product

import pytest

from jogak.autoshard.infeasible import explain_infeasible
from jogak.autoshard.model import least_memory
from jogak.autoshard.plan import SearchOptions, pose, search_plan
from jogak.sharding.constraints import Seed
from jogak.sharding.graph import Graph, Node
from jogak.sharding.rule import Factor, FactorKind, OpShardingRule
from jogak.sharding.sharding import Combiner, DimSpec


def product_rule(m: int, n: int, k: int) -> OpShardingRule:
    factors = (Factor(m), Factor(n), Factor(k, FactorKind.REDUCTION, (Combiner.ADD,)))
    return OpShardingRule(factors, (((0,), (2,)), ((2,), (1,))), (((0,), (1,)),))


def unary_rule(m: int, n: int) -> OpShardingRule:
    return OpShardingRule((Factor(m), Factor(n)), (((0,), (1,)),), (((0,), (1,)),))


def chain(seed: int, length: int = 4) -> Graph:
    """Products by weights with elementwise ops between them."""
    draw = random.Random(seed)
    graph = Graph()
    sizes = [draw.choice([2, 4, 8, 32]) for _ in range(length + 2)]
    value = graph.add_value((sizes[0], sizes[1]), "f32", "x")
    arguments = [value]
    for number in range(length):
        shape = graph.values[value].shape
        if draw.random() < 0.5:
            weight = graph.add_value((shape[1], sizes[number + 2]), "f32", f"w{number}")
            arguments.append(weight)
            made = graph.add_value((shape[0], sizes[number + 2]), "f32", producer=len(graph.nodes))
            rule, operands = product_rule(shape[0], sizes[number + 2], shape[1]), (value, weight)
        else:
            made = graph.add_value(shape, "f32", producer=len(graph.nodes))
            rule, operands = unary_rule(*shape), (value,)
        flops = 2.0 * shape[0] * shape[1] * 8
        graph.nodes.append(Node(len(graph.nodes), "linalg.generic", rule, operands, (made,), flops=flops))
        value = made
    graph.arguments, graph.results = tuple(arguments), (value,)
    return graph


@pytest.mark.parametrize("seed", range(25))
def test_search_equals_enumeration(priced, seed):
    graph = chain(seed, 3)
    cost = priced("data=4")
    model, outcome, plan = search_plan(graph, cost)
    assert plan is not None
    best = min(
        sum(model.seconds(choice))
        for choice in product(*(range(len(model.unary(d))) for d in range(len(model.members))))
    )
    assert outcome.objective == pytest.approx(best, rel=1e-9)
    assert outcome.lower_bound <= best * (1 + 1e-9)
    assert outcome.gap < 1e-6


@pytest.mark.parametrize("seed", range(10))
def test_memory_limit_is_kept_or_refused(priced, seed):
    graph = chain(seed, 4)
    cost = priced("data=2,model=2")
    model, free, _ = search_plan(graph, cost)
    least, _ = least_memory(model)
    for share in (0.9, 0.6, 0.4):
        limit = share * free.peak_bytes
        _, outcome, plan = search_plan(graph, cost, options=SearchOptions(limit=limit))
        if plan is None:
            continue
        stored = replace(model, holds=[hold for hold in model.holds if not hold.gathered])
        assert stored.peak(outcome.choice)[0] <= limit
        assert outcome.objective >= free.objective * (1 - 1e-9)
        assert outcome.lower_bound <= free.objective * (1 + 1e-9)  # the counted copies restrict plans, not the bound
    impossible, outcome, plan = search_plan(graph, cost, options=SearchOptions(limit=0.9 * least))
    assert plan is None
    message, hint = explain_infeasible(impossible, outcome, 0.9 * least)
    assert "no plan" in message
    assert "devices" in hint


def test_constraints_hold(priced):
    graph = chain(3, 4)
    seeds = [
        Seed(0, (DimSpec(("model",)), DimSpec()), 0, "test"),
        Seed(1, (DimSpec((), open=True), DimSpec()), 0, "test"),
    ]
    _, _, plan = search_plan(graph, priced("data=2,model=2"), seeds)
    assert plan is not None
    assert plan.shardings[0].dims == (("model",), ())
    assert plan.shardings[1].dims[1] == ()


def test_folding_changes_no_cost_of_a_plan(priced):
    graph = Graph()
    value = graph.add_value((8, 8), "f32", "x")
    arguments = [value]
    for _ in range(6):
        for rule in (product_rule(8, 8, 8), unary_rule(8, 8), unary_rule(8, 8)):
            operands = [value]
            if len(rule.operands) > 1:
                operands.append(graph.add_value((8, 8), "f32", "w"))
                arguments.append(operands[1])
            value = graph.add_value((8, 8), "f32", producer=len(graph.nodes))
            node = Node(len(graph.nodes), "linalg.generic", rule, tuple(operands), (value,), flops=1e3)
            graph.nodes.append(node)
    graph.arguments, graph.results = tuple(arguments), (value,)
    cost = priced("data=2,model=2")
    for model in (pose(graph, cost, (), SearchOptions(folded=flag)) for flag in (True, False)):
        for number, members in enumerate(model.members):
            assert {len(model.sites.sites[site]) for site in members} == {len(model.unary(number))}
    folded = pose(graph, cost, (), SearchOptions(folded=True))
    whole = pose(graph, cost, (), SearchOptions(folded=False))
    assert len(folded.members) < len(whole.members) / 2
    _, outcome, _ = search_plan(graph, cost, options=SearchOptions(folded=True))
    assert outcome.choice is not None
    spread = [outcome.choice[folded.decision[site]] for site in range(len(whole.members))]
    assert sum(whole.seconds(spread)) == pytest.approx(outcome.objective)
    assert whole.peak(spread)[0] == pytest.approx(outcome.peak_bytes)
