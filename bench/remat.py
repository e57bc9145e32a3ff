"""Rematerialization on public graphs: `python bench/remat.py FOLDER` with a folder of node-link JSON files.

Prints the added time of every plan next to a bar, then chains of equal layers against their closed form. With
`--frontier FILE` instead: whether plans keep to their budgets and cost and feasibility are monotone on a 2 % grid of
budgets, for these graphs and 50 random ones; a line of FILE for each graph, and graphs that have one are not run again.
FOLDER is not part of the repository: the files are `data/` of github.com/haoming-codes/moccasin. The bars are the
published optima of Checkmate's program and of MOCCASIN (fixed order), and the best published values or better (free).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from jogak.memory.remat import RematGraph, simulate_sequence, solve_frontier, solve_remat
from jogak.memory.remat.chain import chain_graph, least_evaluations
from jogak.memory.remat.exact import ExactResult, solve_stages
from jogak.memory.remat.formats import read_graph
from jogak.memory.remat.intervals import solve_intervals


class Row(NamedTuple):
    """A question and its best published answer or better, in percent; infinite when there is no plan."""

    file: str
    share: float
    fixed_order: bool
    bar: float | None


ROWS = (
    Row("vgg16_b256_train", 0.9, True, 1.968),
    Row("vgg16_b256_train", 0.8, True, math.inf),
    Row("fcn_8_vgg_b32_train", 0.9, True, 0.029),
    Row("fcn_8_vgg_b32_train", 0.8, True, 0.136),
    Row("fcn_8_vgg_b32_train", 0.7, True, 0.892),
    Row("random_layered_n100", 0.9, True, 0.789),
    Row("random_layered_n100", 0.8, True, 2.297),
    Row("random_layered_n100", 0.9, False, 0.0),
    Row("random_layered_n100", 0.8, False, 0.0),
    Row("random_layered_n100", 0.7, False, 2.2),
    Row("random_layered_n250", 0.9, False, 0.0),
    Row("random_layered_n250", 0.8, False, 0.0),
    Row("random_layered_n250", 0.7, False, 2.6),
    Row("resnet50_b256_train", 0.9, False, 0.2),
    Row("resnet50_b256_train", 0.8, False, 0.3),
    Row("resnet50_b256_train", 0.7, False, 0.8),
    Row("resnet50_b256_train", 0.5, False, None),
    Row("resnet50_b256_train", 0.3, False, None),
)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--frontier", type=Path, metavar="FILE", help="solve every budget of a 2 %% grid instead")
    options = parser.parse_args()
    graphs = {path.stem: read_graph(path) for path in sorted(options.folder.glob("*.json"))}
    if options.frontier:
        _frontiers(graphs, options.time_limit, options.frontier)
        return
    rows = [row for row in ROWS if row.file in graphs]
    _plans(graphs, rows, options.time_limit)
    _two_formulations(graphs, [row for row in rows if row.fixed_order and row.bar != math.inf])
    _chains()


def _plans(graphs: dict[str, RematGraph], rows: list[Row], time_limit: float) -> None:
    print(f"{'file':22} {'budget':>6} {'order':>5} {'bar':>7} {'added':>8} {'bound':>8} {'proven':>6} {'s':>6}")
    for row in rows:
        graph = graphs[row.file]
        limit = 2 * time_limit if row.fixed_order else time_limit
        found = solve_remat(graph, _budget(graph, row.share), fixed_order=row.fixed_order, time_limit=limit)
        bar = "-" if row.bar is None else f"{row.bar:.3f}"
        added = math.inf if found.added_time_percent is None else found.added_time_percent
        bound = math.inf if found.lower_bound_percent is None else found.lower_bound_percent
        order = "fixed" if row.fixed_order else "free"
        least = f"  no plan goes below {found.minimum_peak_bound / found.base_peak:.3f}" if not found.feasible else ""
        print(
            f"{row.file:22} {row.share:6.2f} {order:>5} {bar:>7} {added:8.4f} {bound:8.4f} "
            f"{found.optimal!s:>6} {found.seconds:6.1f}{least}",
            flush=True,
        )


def _two_formulations(graphs: dict[str, RematGraph], rows: list[Row]) -> None:
    print("\ntwo formulations, fixed order, told only that the published value (+ 0.01) is enough")
    print(f"{'file':22} {'budget':>6} {'stages':>9} {'s':>6} {'intervals':>9} {'s':>6}")
    for row in rows:
        graph = graphs[row.file].in_order()
        budget, cap = _budget(graph, row.share), ((row.bar or 0.0) + 0.01) / 100 * graph.total_cost
        begin = time.monotonic()
        stages = _percent(graph, solve_stages(graph, budget, 120.0, cap))
        middle = time.monotonic()
        intervals = _percent(graph, solve_intervals(graph, budget, 120.0, cap, computations=2))
        end = time.monotonic()
        print(f"{row.file:22} {row.share:6.2f} {stages:>9} {middle - begin:6.1f} {intervals:>9} {end - middle:6.1f}")


def _percent(graph: RematGraph, found: ExactResult) -> str:
    if found.sequence is None:
        return "none"
    return f"{100 * (simulate_sequence(graph, found.sequence).cost / graph.total_cost - 1):.4f}"


def _chains() -> None:
    print("\nchain of 100 equal layers: evaluations of a layer")
    print(f"{'slots':>6} {'closed form':>12} {'plan':>6}")
    graph = chain_graph(100)
    for slots in (2, 3, 5, 8, 10, 12, 20):
        plan = solve_remat(graph, slots + 2)
        evaluations = sum(graph.cost[int(str(node))] for node in plan.sequence)
        print(f"{slots:6} {least_evaluations(100, slots):12} {evaluations:6.0f}")


def _frontiers(graphs: dict[str, RematGraph], time_limit: float, file: Path) -> None:
    """A row for each graph; every sequence is run again, whatever the solver says of it."""
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {row["graph"] for row in known}
    for name, graph in [*graphs.items(), *((f"random {seed}", _random_graph(seed)) for seed in range(50))]:
        if name not in done:
            known.append(_frontier(name, graph, time_limit))
            with file.open("a") as opened:
                opened.write(json.dumps(known[-1]) + "\n")
    print(f"{'graph':22} {'nodes':>5} {'plans from':>10} {'within':>6} {'cost':>5} {'plans':>5} {'proven':>6} {'s':>6}")
    violations = 0
    for row in known:
        costs = [math.inf if cost is None else cost for cost in row["added_percent"]]
        falling = all(more >= less for more, less in pairwise(costs))
        grown = all(less < math.inf or more == math.inf for more, less in pairwise(costs))
        violations += (not row["within"]) + (not falling) + (not grown)
        first = next((2 * index + 2 for index, cost in enumerate(costs) if cost < math.inf), None)
        print(
            f"{row['graph']:22} {row['nodes']:5} {first or '-':>9}% {row['within']!s:>6} {falling!s:>5} {grown!s:>5} "
            f"{sum(row['proven']):3}/50 {row['seconds']:6.0f}"
        )
    print(f"violations: {violations}")


def _frontier(name: str, graph: RematGraph, time_limit: float) -> dict[str, Any]:
    begin = time.monotonic()
    budgets = [_budget(graph, percent / 100) for percent in range(2, 101, 2)]
    found = solve_frontier(graph, budgets, time_limit=time_limit, mode="fast")
    number = {graph.name(node): node for node in range(len(graph))}
    within = True
    for plan, budget in zip(found, budgets, strict=True):
        if plan.feasible:
            run = simulate_sequence(graph, [number[each] for each in plan.sequence])
            added = 100 * (run.cost / graph.total_cost - 1)
            within &= run.peak <= budget and math.isclose(added, plan.added_time_percent or 0.0, abs_tol=1e-6)
    return {
        "graph": name,
        "nodes": len(graph),
        "within": within,
        "added_percent": [plan.added_time_percent for plan in found],
        "proven": [plan.optimal for plan in found],
        "seconds": time.monotonic() - begin,
    }


def _random_graph(seed: int) -> RematGraph:
    """A graph of 20 to 69 nodes, each of which is read by a later one."""
    draw, nodes = random.Random(seed), 20 + seed
    edges = [(node, draw.randrange(node + 1, min(node + 12, nodes))) for node in range(nodes - 1)]
    edges += [(first, last) for first, last in (sorted(draw.sample(range(nodes), 2)) for _ in range(nodes))]
    return RematGraph(
        [float(draw.randint(0, 9)) for _ in range(nodes)], [draw.randint(1, 9) for _ in range(nodes)], edges
    )


def _budget(graph: RematGraph, share: float) -> int:
    base = simulate_sequence(graph, graph.order).peak
    return base * round(share * 100) // 100


if __name__ == "__main__":
    main()
