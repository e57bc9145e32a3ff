"""Against PyTorch's min-cut partitioner: `python bench/mincut.py`.

A Llama-like model of 8 blocks; its joint graph (loss and gradients) is split by torch's partitioner at 12 memory
budgets, and planned whole by Jogak for the peak that each of these needs. Both sides are counted alike: live bytes in
the order of the nodes, views aliased, parameters excluded, gradients included; FLOPs of mm, addmm and bmm.
"""

from __future__ import annotations

import argparse
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch._functorch import config
from torch._functorch.aot_autograd import aot_function
from torch._functorch.partitioners import default_partition, min_cut_rematerialization_partition
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import flop_registry

from jogak.memory.remat import RematGraph, RematResult, simulate_sequence, solve_remat

BUDGETS = (1.0, 0.9, 0.7, 0.5, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05, 0.0)
MIB, GIGA = 2**20, 1e9
_BYTES_PER_FLOP = 10  # a device that does 10 floating-point operations in the time of moving a byte
_MATMULS = {torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default}


class Block(nn.Module):
    """Causal attention and a gated feed-forward part, each behind an RMS norm."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        y = self.norm1(x)
        q, k, v = (
            project(y).view(batch, length, self.heads, -1).transpose(1, 2) for project in (self.q, self.k, self.v)
        )
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(y.transpose(1, 2).reshape(batch, length, width))
        y = self.norm2(x)
        return x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))


def trace(layers: int) -> dict[str, Any]:
    """The joint graph of the model, how many results its forward part has, and torch's splits of it."""
    found: dict[str, Any] = {"splits": {}}

    def partition(joint: fx.GraphModule, inputs: Any, *, num_fwd_outputs: int, **options: Any) -> Any:
        found.update(joint=joint, outputs=num_fwd_outputs)
        for budget in BUDGETS:
            with config.patch(activation_memory_budget=budget):
                found["splits"][budget] = min_cut_rematerialization_partition(
                    joint, inputs, num_fwd_outputs=num_fwd_outputs, **options
                )
        return default_partition(joint, inputs, num_fwd_outputs=num_fwd_outputs, **options)

    with FakeTensorMode():
        model = nn.Sequential(*(Block(256, 8, 688) for _ in range(layers)))
        names, weights = zip(*model.named_parameters(), strict=True)
        data = torch.empty(2, 1024, 256, requires_grad=True)

        def loss(weights: Any, data: torch.Tensor) -> torch.Tensor:
            return torch.func.functional_call(model, dict(zip(names, weights, strict=True)), (data,)).sum()

        keep: Callable[..., Any] = lambda module, inputs: module  # noqa: E731
        step = aot_function(loss, fw_compiler=keep, bw_compiler=keep, partition_fn=partition)
        step(list(weights), data).backward()
    return found


def tensors(node: fx.Node) -> list[torch.Tensor]:
    """The tensors that a node makes."""
    value = node.meta.get("val")
    values = value if isinstance(value, tuple | list) else [value]
    return [each for each in values if isinstance(each, torch.Tensor)]


def alias(node: fx.Node) -> fx.Node | None:
    """The node whose memory this one's value lies in; None for a value of its own."""
    if node.target is operator.getitem:
        return None
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        views = [argument for argument in target._schema.arguments if argument.alias_info is not None]
        source = node.args[0] if views and node.args else None
        reshape = target in {torch.ops.aten.detach.default, torch.ops.aten._unsafe_view.default}
        if (views or reshape) and isinstance(node.args[0], fx.Node):
            return node.args[0] if reshape else source  # type: ignore[return-value]
    return None


def size(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def flops(node: fx.Node) -> float:
    """FLOPs of a matrix product; 0 for everything else."""
    if node.target not in _MATMULS:
        return 0.0
    shapes = [argument.meta["val"] if isinstance(argument, fx.Node) else argument for argument in node.args]
    return float(flop_registry[node.target.overloadpacket](*shapes, out_val=node.meta["val"]))  # type: ignore[union-attr]


def remat_graph(graph: fx.Graph, excluded: set[str]) -> tuple[RematGraph, list[float]]:
    """A graph for the engine, and the FLOPs of its nodes.

    Args:
        graph: straight-line; its placeholders are arguments.
        excluded: names of placeholders that do not count, such as parameters.
    """
    builder = _Builder(excluded)
    for node in graph.nodes:
        builder.add(node)
    return builder.graph(), builder.flops


class _Builder:
    def __init__(self, excluded: set[str]) -> None:
        self.excluded = excluded
        self.cost: list[float] = []
        self.flops: list[float] = []
        self.sizes: list[list[int]] = []  # of each node's values
        self.reads: list[set[tuple[int, int]]] = []
        self.names: list[str] = []
        self.arguments: set[int] = set()
        self.where: dict[fx.Node, tuple[int, int] | None] = {}  # the (node, result) behind each fx value

    def add(self, node: fx.Node) -> None:
        source = alias(node)
        if source is not None:
            self.where[node] = self.where[source]
        elif node.target is operator.getitem:
            made = node.args[0]
            base = self.where[made]  # type: ignore[index]
            one = base and alias(made)  # type: ignore[arg-type]
            self.where[node] = base if one or not base else (base[0], int(node.args[1]))  # type: ignore[arg-type]
        elif node.name in self.excluded:
            self.where[node] = None
        else:
            self.where[node] = (self._new(node), 0)

    def _new(self, node: fx.Node) -> int:
        number = len(self.cost)
        made, read = tensors(node), [each for other in node.all_input_nodes for each in tensors(other)]
        sizes = [] if node.op == "output" else [size(each) for each in made]
        moved = sum(sizes) + sum(map(size, read))
        self.flops.append(flops(node))
        self.cost.append(0.0 if node.op in {"placeholder", "output"} else self.flops[-1] + _BYTES_PER_FLOP * moved)
        self.sizes.append(sizes or [0])
        self.reads.append({place for other in node.all_input_nodes if (place := self.where[other])})
        self.names.append(node.name)
        if node.op == "placeholder":
            self.arguments.add(number)
        return number

    def graph(self) -> RematGraph:
        nodes = len(self.cost)
        value: dict[tuple[int, int], int] = {}
        extra: list[tuple[int, int]] = []
        for node, sizes in enumerate(self.sizes):
            value[node, 0] = node
            for index, bytes_ in enumerate(sizes[1:], start=1):
                value[node, index] = nodes + len(extra)
                extra.append((node, bytes_))
        edges = [(value[place], node) for node, places in enumerate(self.reads) for place in sorted(places)]
        return RematGraph(
            self.cost,
            [sizes[0] for sizes in self.sizes],
            edges,
            once=frozenset([nodes - 1]),
            names=self.names,
            extra=extra,
            arguments=frozenset(self.arguments),
        )


def main() -> None:
    """Print one line for each budget of the partitioner, then the two fixed bars."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--time-limit", type=float, default=20.0, help="seconds for each plan")
    options = parser.parse_args()
    found = trace(options.layers)
    joint: fx.Graph = found["joint"].graph
    excluded = {node.name for node in joint.nodes if node.op == "placeholder" and node.name.startswith("primals")}
    graph, counts = remat_graph(joint, excluded)
    work = dict(zip(graph.names, counts, strict=True))
    base = simulate_sequence(graph, graph.order).peak
    print(f"joint graph: {len(graph)} nodes, {base / MIB:.1f} MiB, {sum(counts) / GIGA:.2f} GFLOP")
    print(f"{'torch':>6} {'MiB':>7} {'GFLOP':>7} | {'MiB':>7} {'GFLOP':>7} {'added %':>8} {'bound %':>8} {'s':>6} kept")
    rows = [(f"{share:g}", *_split(parts, excluded)) for share, parts in found["splits"].items()]
    rows += [("bar", int(71.4 * MIB), 97.84 * GIGA), ("bar", int(204.4 * MIB), sum(counts))]
    for name, peak, flops_ in rows if options.layers == 8 else rows[:-2]:
        plan = solve_remat(graph, peak, time_limit=options.time_limit, mode="fast")
        own = sum(work[str(node)] for node in plan.sequence)
        kept = plan.peak is not None and plan.peak <= peak and own <= flops_ * (1 + 1e-9)
        print(f"{name:>6} {peak / MIB:7.1f} {flops_ / GIGA:7.2f} | {_row(plan, own)}  {kept}", flush=True)


def _split(parts: tuple[fx.GraphModule, fx.GraphModule], excluded: set[str]) -> tuple[int, float]:
    """Peak of both halves of a split in bytes, and their FLOPs together."""
    peaks, total = [], 0.0
    for half in parts:
        graph, counts = remat_graph(half.graph, excluded)
        peaks.append(simulate_sequence(graph, graph.order).peak)
        total += sum(counts)
    return max(peaks), total


def _row(plan: RematResult, own: float) -> str:
    if plan.peak is None or plan.added_time_percent is None:
        return "no plan"
    bound = plan.lower_bound_percent or 0.0
    return f"{plan.peak / MIB:7.1f} {own / GIGA:7.2f} {plan.added_time_percent:8.3f} {bound:8.3f} {plan.seconds:6.1f}"


if __name__ == "__main__":
    main()
