"""The search on small graphs: exhaustive enumeration agrees, constraints hold, memory limits hold."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product

import pytest

from jogak.autoshard.folding import find_updates, fold
from jogak.autoshard.infeasible import explain_infeasible
from jogak.autoshard.plan import SearchOptions, pose, search_plan
from jogak.cost.model import Roofline
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
    best = min(model.price(choice).step for choice in product(*(range(len(site)) for site in model.sites.sites)))
    assert outcome.objective == pytest.approx(best, rel=1e-9)
    assert outcome.lower_bound <= best * (1 + 1e-9)
    assert outcome.gap < 1e-6


@pytest.mark.parametrize("seed", range(25))
def test_bounds_hold_where_collectives_run_beside_kernels(priced, seed):
    """The bound holds for every plan, and whatever plan is told is priced as enumeration does."""
    graph = updated_chain(seed, 1)
    cost = priced("data=4")
    fast = draw_bandwidth(seed)
    machine = replace(cost.machine, overlap=True, levels=(replace(cost.machine.levels[0], bandwidth=fast),))
    model, outcome, plan = search_plan(graph, Roofline(machine, cost.mesh))
    assert plan is not None
    prices = [model.price(choice) for choice in product(*(range(len(site)) for site in model.sites.sites))]
    best = min(price.step for price in prices)
    assert outcome.lower_bound <= best * (1 + 1e-9)
    assert outcome.objective >= best * (1 - 1e-9)
    assert outcome.objective <= min(price.compute + price.exposed + price.hideable for price in prices) * (1 + 1e-9)
    if outcome.gap < 1e-9:
        assert outcome.objective == pytest.approx(best)


def draw_bandwidth(seed: int) -> float:
    return random.Random(seed).choice([1e5, 1e6, 1e7])


def updated_chain(seed: int, length: int) -> Graph:
    """Products by weights, each of which an optimizer changes by a product of its own."""
    draw = random.Random(seed)
    graph = Graph()
    size = [draw.choice([4, 8, 32]) for _ in range(length + 1)]
    value = graph.add_value((16, size[0]), "f32", "x")
    arguments, results = [value], []
    for number in range(length):
        weight = graph.add_value((size[number], size[number + 1]), "f32", f"w{number}")
        gradient = graph.add_value((size[number], size[number + 1]), "f32", producer=len(graph.nodes))
        rule = product_rule(size[number], size[number + 1], 16)
        rule = replace(rule, operands=(((2,), (0,)), ((2,), (1,))))
        other = graph.add_value((16, size[number + 1]), "f32", f"g{number}")
        flops = 2.0 * 16 * size[number] * size[number + 1]
        graph.nodes.append(Node(len(graph.nodes), "linalg.generic", rule, (value, other), (gradient,), flops=flops))
        made = graph.add_value((16, size[number + 1]), "f32", producer=len(graph.nodes))
        rule = product_rule(16, size[number + 1], size[number])
        graph.nodes.append(Node(len(graph.nodes), "linalg.generic", rule, (value, weight), (made,), flops=flops))
        changed = graph.add_value((size[number], size[number + 1]), "f32", producer=len(graph.nodes))
        rule = unary_rule(size[number], size[number + 1])
        rule = replace(rule, operands=rule.operands * 2)
        graph.nodes.append(Node(len(graph.nodes), "linalg.generic", rule, (weight, gradient), (changed,), flops=1.0))
        arguments += [weight, other]
        results.append(changed)
        value = made
    graph.arguments, graph.results = tuple(arguments), (value, *results)
    graph.updates = {1 + number: 1 + 2 * number for number in range(length)}
    return graph


def test_only_the_optimizer_can_wait():
    graph = updated_chain(0, 3)
    assert find_updates(graph) == [False, False, True] * 3
    late = fold(graph, {}).late
    assert [late[node.results[0]] for node in graph.nodes] == [True, False, False] * 3


@pytest.mark.parametrize("seed", range(10))
def test_memory_limit_is_kept_or_refused(priced, seed):
    graph = chain(seed, 4)
    cost = priced("data=2,model=2")
    model, free, _ = search_plan(graph, cost)
    least, _ = model.holds.least()
    for share in (0.9, 0.6, 0.4):
        limit = share * free.peak_bytes
        _, outcome, plan = search_plan(graph, cost, options=SearchOptions(limit=limit))
        if plan is None:
            continue
        assert model.holds.without_copies().peak(outcome.choice)[0] <= limit
        assert outcome.objective >= free.objective * (1 - 1e-9)
        assert outcome.lower_bound <= free.objective * (1 + 1e-9)  # the counted copies restrict plans, not the bound
    impossible, outcome, plan = search_plan(graph, cost, options=SearchOptions(limit=0.9 * least))
    assert plan is None
    message, hint = explain_infeasible(impossible, outcome, 0.9 * least)
    assert "no plan" in message
    assert "devices" in hint


def test_what_several_ops_need_is_brought_there_once(priced):
    """Three products need all rows, each for its columns: the rows are gathered, and paid for, once."""
    graph = Graph()
    rows = graph.add_value((4, 16), "f32", "x")
    arguments, results = [rows], []
    made = graph.add_value((4, 16), "f32", producer=0)
    graph.nodes.append(Node(0, "linalg.generic", unary_rule(4, 16), (rows,), (made,), flops=64.0))
    for number in range(3):
        arguments.append(graph.add_value((16, 256), "f32", f"w{number}"))
        results.append(graph.add_value((4, 256), "f32", producer=1 + number))
        node = Node(1 + number, "linalg.generic", product_rule(4, 256, 16), (made, arguments[-1]), (results[-1],))
        graph.nodes.append(replace(node, flops=2.0 * 4 * 256 * 16))
    graph.arguments, graph.results = tuple(arguments), tuple(results)
    split = DimSpec(("data",))
    seeds = [Seed(rows, (split, DimSpec()), 0, "test")]
    seeds += [Seed(weight, (DimSpec(), split), 0, "test") for weight in arguments[1:]]
    cost = priced("data=4")
    model, outcome, plan = search_plan(graph, cost, seeds)
    assert plan is not None
    assert plan.shardings[rows].dims == (("data",), ())
    assert plan.shardings[made].dims == ((), ())
    assert [plan.shardings[each].dims for each in results] == [((), ("data",))] * 3
    gathered = cost.collective("all_gather", ("data",), 4 * 16 * 4)
    assert model.price(outcome.choice).exposed == pytest.approx(gathered)


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
    folded = pose(graph, cost, (), SearchOptions(folded=True)).whole
    whole = pose(graph, cost, (), SearchOptions(folded=False)).whole
    assert len(folded.sites.sites) < len(whole.sites.sites) / 2
    assert sum(folded.sites.alike) == len(whole.sites.sites)
    _, outcome, _ = search_plan(graph, cost, options=SearchOptions(folded=True))
    assert outcome.choice is not None
    spread = [0] * len(whole.sites.sites)
    for value in range(len(graph.values)):
        spread[whole.sites.home(value)[0]] = outcome.choice[folded.sites.home(value)[0]]
    for node in graph.nodes:
        spread[whole.sites.own[node.index]] = outcome.choice[folded.sites.own[node.index]]
    assert whole.price(spread).step == pytest.approx(outcome.objective)
    assert whole.holds.peak(spread)[0] == pytest.approx(outcome.peak_bytes)
