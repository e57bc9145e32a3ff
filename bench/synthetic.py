"""Synthetic training steps for the solver: `python bench/synthetic.py [SECONDS] [TARGET_GAP]`.

Layers of a transformer-like graph, forward and backward, on meshes of one to three axes. A strategy assigns to each
axis a dimension or none; edges cost what moving from one assignment to the other costs. On 30 % of the edges the
dimensions are permuted at random, which makes edges disagree with one another: harder than a model's own graph.
"""

from __future__ import annotations

import itertools
import sys
import time
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from jogak.search.problem import Problem, evaluate
from jogak.search.solve import solve_problem

Ints = NDArray[np.int64]
BANDWIDTH = np.array([2e11, 1e11, 2.5e10])
FLOPS, MEMORY_BANDWIDTH, LATENCY = 1.5e14, 2e12, 1e-5
CASES = [(12, (8,)), (12, (8, 8)), (32, (8, 8)), (96, (8, 8)), (12, (4, 4, 4)), (48, (4, 4, 4))]


@dataclass
class Step:
    """A graph under construction: nodes (dimensions, elements, FLOPs), and edges with the way dimensions map."""

    random: np.random.Generator
    nodes: list[tuple[int, float, float]] = field(default_factory=list)
    edges: list[tuple[int, int, tuple[int, ...]]] = field(default_factory=list)

    def add(self, rank: int, size: float, flops: float, *inputs: int) -> int:
        self.nodes.append((rank, size, flops))
        here = len(self.nodes) - 1
        for source in inputs:
            count = self.nodes[source][0]
            order = self.random.permutation(max(rank, count)) if self.random.random() < 0.3 else np.arange(count)
            self.edges.append((source, here, tuple(int(d) if d < rank else -1 for d in order[:count])))
        return here


def training_step(layers: int, random: np.random.Generator) -> Step:
    """Attention and feed-forward blocks, and their backward pass in reverse."""
    step = Step(random)
    add = step.add
    x = add(3, 1e8, 0)
    forward = []
    for _ in range(layers):
        w = [add(2, 10 ** random.uniform(6.5, 8), 0) for _ in range(4)]
        norm = add(3, 1e8, 1e9, x)
        query = add(4, 1e8, 1e11, norm, w[0])
        score = add(4, 2e8, 1e11, query)
        value = add(4, 1e8, 1e11, score, query)
        middle = add(3, 1e8, 1e9, value, w[1], x)
        up = add(3, 4e8, 2e11, middle, w[2])
        x = add(3, 1e8, 2e11, up, w[3], middle)
        forward.append((norm, query, score, value, middle, up, w))
    grad = add(3, 1e8, 1e9, x)
    for norm, query, score, value, middle, up, w in reversed(forward):
        grad_up = add(3, 4e8, 2e11, grad, w[3])
        add(2, 1e7, 2e11, grad, up, w[3])
        inner = add(3, 1e8, 2e11, grad_up, w[2], grad)
        add(2, 1e7, 2e11, grad_up, middle, w[2])
        grad_value = add(4, 1e8, 1e11, inner, w[1])
        add(2, 1e7, 1e11, inner, value, w[1])
        grad_score = add(4, 2e8, 2e11, grad_value, score, query)
        grad = add(3, 1e8, 1e11, grad_score, w[0], inner)
        add(2, 1e7, 1e11, grad_score, norm, w[0])
    return step


def build(layers: int, axes: tuple[int, ...], random: np.random.Generator) -> Problem:
    """The problem of a training step on a mesh, in nanoseconds and kilobytes, without a memory limit."""
    step, sizes = training_step(layers, random), np.array(axes)
    layouts = {d: np.array(list(itertools.product(range(-1, d), repeat=len(axes)))) for d in (2, 3, 4)}
    costs, usages = [], []
    for rank, size, flops in step.nodes:
        layout = layouts[rank]
        parts = np.where(layout >= 0, sizes, 1).prod(axis=1)
        seconds = (flops / FLOPS + size * 4 / MEMORY_BANDWIDTH) / parts
        summed = random.random(rank) < 0.3
        for a, n in enumerate(axes):
            reduces = (layout[:, a] >= 0) & summed[np.maximum(layout[:, a], 0)] & (flops > 1e10)
            seconds = seconds + reduces * 4 * size / parts * (n - 1) / BANDWIDTH[a]
        costs.append(np.round(seconds * 1e9).astype(np.int64))
        usages.append(np.round(size * 2 / parts / 1e3).astype(np.int64))
    last = list(range(len(costs)))
    for i, j, _ in step.edges:
        last[i] = max(last[i], j)
    tables = [
        moves(layouts[step.nodes[i][0]], layouts[step.nodes[j][0]], np.array(mapping), step.nodes[i][1], sizes)
        for i, j, mapping in step.edges
    ]
    intervals = [(i, end + 1) for i, end in enumerate(last)]
    return Problem(costs, usages, intervals, [edge[:2] for edge in step.edges], tables, None)  # type: ignore[arg-type]


def moves(source: Ints, target: Ints, mapping: Ints, size: float, sizes: Ints) -> Ints:
    """What each change of layout costs: an all-gather where an axis is given up, an all-to-all where it moves."""
    parts = np.where(source >= 0, sizes, 1).prod(axis=1)[:, None]
    mapped = np.where(source >= 0, mapping[np.maximum(source, 0)], -1)
    seconds = np.zeros((len(source), len(target)))
    for a, n in enumerate(sizes.tolist()):
        old, new, held = mapped[:, a][:, None], target[:, a][None, :], (source[:, a] >= 0)[:, None]
        moved = held & (new != old)
        gather, exchange = moved & ((new < 0) | (old < 0)), moved & (old >= 0) & (new >= 0)
        once = size * 2 / parts * (n - 1) / BANDWIDTH[a]
        seconds += gather * (once + LATENCY) + exchange * (once / n + LATENCY)
    return np.round(seconds * 1e9).astype(np.int64).ravel()


def with_limit(problem: Problem, share: float) -> Problem:
    """A limit between the least memory of all and what a good plan without a limit needs."""
    free = solve_problem(problem, time_limit=20, target_gap=0.1)
    assert free.choice is not None
    most = evaluate(problem, free.choice)[1]
    least = evaluate(problem, [int(np.argmin(row)) for row in problem.usages])[1]
    return replace(problem, limit=int(least + share * (most - least)))


def main() -> None:
    seconds, gap = float(sys.argv[1]) if len(sys.argv) > 1 else 5, float(sys.argv[2]) if len(sys.argv) > 2 else 0.01
    print("layers | mesh | nodes | table entries | memory | gap | seconds | CPU seconds")
    for layers, axes in CASES:
        for share in (None, 0.35):
            problem = build(layers, axes, np.random.default_rng(layers + len(axes)))
            problem = problem if share is None else with_limit(problem, share)
            begun = time.process_time()
            answer = solve_problem(problem, time_limit=seconds, target_gap=gap)
            cells = [
                layers,
                axes,
                len(problem.costs),
                sum(map(len, problem.edge_costs)),
                "free" if share is None else share,
            ]
            found = "-" if answer.gap is None else f"{100 * answer.gap:.2f} %"
            print(
                " | ".join(map(str, cells)),
                found,
                f"{answer.seconds:.2f}",
                f"{time.process_time() - begun:.2f}",
                sep=" | ",
                flush=True,
            )


if __name__ == "__main__":
    main()
