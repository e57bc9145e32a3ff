"""A transformer's joint graph from torch: what the engine plans, against PyTorch's partitioner."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from jogak.memory.remat import minimum_peak, simulate_sequence, solve_remat

_BENCH = Path(__file__).parents[3] / "bench" / "mincut.py"


@pytest.mark.slow
def test_never_more_work_than_the_partitioner_for_the_peak_that_it_needs():
    spec = importlib.util.spec_from_file_location("mincut", _BENCH)
    assert spec
    assert spec.loader
    mincut = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mincut)
    found = mincut.trace(2)
    joint = found["joint"].graph
    excluded = {node.name for node in joint.nodes if node.name.startswith("primals")}
    graph, counts = mincut.remat_graph(joint, excluded)
    work = dict(zip(graph.names, counts, strict=True))
    number = {name: node for node, name in enumerate(graph.names)}
    assert any(len(outputs) > 1 for outputs in graph.outputs)
    for share in (1.0, 0.7, 0.2, 0.0):
        halves = [mincut.remat_graph(half.graph, excluded) for half in found["splits"][share]]
        peak = max(simulate_sequence(half, half.order).peak for half, _ in halves)
        plan = solve_remat(graph, peak, time_limit=20, mode="fast")
        assert plan.feasible
        again = simulate_sequence(graph, [number[name] for name in plan.sequence])
        assert minimum_peak(graph) <= again.peak == plan.peak <= peak
        assert sum(work[name] for name in plan.sequence) <= sum(sum(own) for _, own in halves)
