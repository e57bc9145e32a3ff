"""A GPT-2 training step with AdamW in place: `python bench/training_step.py [--layers 12] [--batch 8]`.

Prints added time and its lower bound for budgets in shares of what is not fixed: parameters and moments are fixed,
activations, gradients and temporaries are not. Cost is FLOPs of matrix products plus ten for every byte moved.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from mincut import alias, remat_graph, size
from torch import fx, nn
from torch._decomp import core_aten_decompositions
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from jogak.memory.remat import RematGraph, minimum_peak, simulate_sequence, solve_remat

WIDTH, HEADS, LENGTH, WORDS = 768, 12, 1024, 50257
SHARES = (0.75, 0.5, 0.35, 0.25)


class Block(nn.Module):
    """Causal attention with explicit scores, and a feed-forward part."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        parts = self.qkv(self.norm1(x)).split(width, -1)
        q, k, v = (part.view(batch, length, HEADS, -1).transpose(1, 2) for part in parts)
        future = torch.ones(length, length, dtype=torch.bool).tril().logical_not()
        scores = (q @ k.transpose(-1, -2) / 8.0).masked_fill(future, -1e9).softmax(-1)
        x = x + self.out((scores @ v).transpose(1, 2).reshape(batch, length, width))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    """A decoder whose embedding also is its last layer; returns the loss."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks, self.norm = nn.ModuleList(Block() for _ in range(layers)), nn.LayerNorm(WIDTH)

    def forward(self, tokens: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        x = self.words(tokens) + self.places(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = self.norm(x) @ self.words.weight.t()
        return nn.functional.cross_entropy(logits.view(-1, WORDS), labels.view(-1))


def trace(layers: int, batch: int) -> tuple[fx.Graph, int]:
    """One training step (parameters, two moments each, tokens, labels), and how many parameters it has."""
    with FakeTensorMode():
        model = GPT(layers)
        names, weights = zip(*model.named_parameters(), strict=True)
        moments = [[torch.empty_like(weight) for weight in weights] for _ in range(2)]
        tokens = [torch.zeros(batch, LENGTH, dtype=torch.long) for _ in range(2)]

        def step(weights: Any, first: Any, second: Any, *tokens: torch.Tensor) -> Any:
            weights = [weight.detach().requires_grad_() for weight in weights]
            loss = torch.func.functional_call(model, dict(zip(names, weights, strict=True)), tokens)
            updates = []
            for w, m, v, g in zip(weights, first, second, torch.autograd.grad(loss, weights), strict=True):
                m, v = m * 0.9 + g * 0.1, v * 0.99 + g * g * 0.01
                updates += [w.detach() - 1e-3 * (m / (v.sqrt() + 1e-8)), m, v]
            return [loss, *updates]

        module = make_fx(step, decomposition_table=core_aten_decompositions())(list(weights), *moments, *tokens)
    module.graph.eliminate_dead_code()
    return module.graph, len(names)


def step_graph(graph: fx.Graph, parameters: int) -> RematGraph:
    """The step with its updates in place: nothing new, run once, after all who read the old value."""
    arguments = [node for node in graph.nodes if node.op == "placeholder"]
    plain, _ = remat_graph(graph, {node.name for node in arguments})
    number = {name: node for node, name in enumerate(plain.names)}
    updates = [number[node.name] for node in next(iter(reversed(graph.nodes))).args[0][1:]]
    sizes = [0 if node in set(updates) else bytes_ for node, bytes_ in enumerate(plain.size)]
    before = {
        (number[reader.name], update)
        for index, update in enumerate(updates)
        for reader in _readers(arguments[index // 3 + index % 3 * parameters])
        if reader.name in number and number[reader.name] != update
    }
    fixed = sum(size(node.meta["val"]) for node in arguments[: 3 * parameters])
    return replace(plain, size=sizes, once=plain.once | set(updates), before=sorted(before), fixed=fixed)


def _readers(node: fx.Node) -> Iterator[fx.Node]:
    """Who reads the memory of a node, through views too."""
    for user in node.users:
        if alias(user) is None:
            yield user
        else:
            yield from _readers(user)


def main() -> None:
    """Print one line for each budget."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--time-limit", type=float, default=30.0)
    options = parser.parse_args()
    graph = step_graph(*trace(options.layers, options.batch))
    base = simulate_sequence(graph, graph.order).peak - graph.fixed
    least = (minimum_peak(graph) - graph.fixed) / base
    print(
        f"{len(graph)} nodes, fixed {graph.fixed / 2**30:.2f} GiB, rest {base / 2**30:.2f} GiB, least share {least:.3f}"
    )
    print(f"{'share':>6} {'added %':>8} {'bound %':>8} {'s':>6}")
    for share in SHARES:
        plan = solve_remat(graph, int(graph.fixed + share * base), time_limit=options.time_limit, mode="fast")
        added = f"{plan.added_time_percent:8.3f} {plan.lower_bound_percent or 0.0:8.3f}" if plan.feasible else "no plan"
        print(f"{share:6.2f} {added:>17} {plan.seconds:6.1f}", flush=True)


if __name__ == "__main__":
    main()
