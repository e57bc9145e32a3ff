"""The speed of a compiled training step against what a user would write, in the same processes, step by step in turn.

torchrun --nproc-per-node 2 bench/peers.py FOLDER --peer ddp [--compile] [--fused]

`ddp` is DistributedDataParallel, `fsdp2` is fully_shard with a unit a block, `tp` is DTensor's parallelize_module with
Megatron's columns and rows, for models whose attention has q, k, v and proj. With `--compile` both sides use inductor.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

import jogak
from jogak.configuration import Configuration
from jogak.ingress import losses
from jogak.ingress.losses import TARGET
from jogak.ingress.model import Model, load_model
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ingress.reference import real_model
from jogak.ingress.step import chosen_loss
from jogak.targets.distributed.load import Step

WARM_UP = 3
PEERS = ("ddp", "fsdp2", "tp")


def wrapped(module: nn.Module, peer: str) -> nn.Module:
    """A module as the peer's users write it."""
    if peer == "ddp":
        return DistributedDataParallel(module)
    if peer == "tp":
        return tensor_parallel(module)
    for block in getattr(module, "blocks", ()):
        fully_shard(block)
    fully_shard(module)
    return module


def tensor_parallel(module: nn.Module) -> nn.Module:
    """Columns of the first layers, rows of the second ones; attention has its share of the heads."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for block in module.blocks:  # type: ignore[union-attr]
        columns = ("attn.q", "attn.k", "attn.v", "mlp.gate", "mlp.up")
        plan: dict[str, ParallelStyle] = {name: ColwiseParallel() for name in columns}
        parallelize_module(block, mesh, plan | {name: RowwiseParallel() for name in ("attn.proj", "mlp.down")})
        block.attn.kv_heads //= dist.get_world_size()
    return module


def optimizer_of(module: nn.Module, chosen: Optimizer, fused: bool) -> torch.optim.Optimizer:
    """The optimizer that the plan was compiled with."""
    if chosen.kind == "sgd":
        return torch.optim.SGD(
            module.parameters(), lr=chosen.learning_rate, momentum=chosen.momentum, weight_decay=chosen.weight_decay
        )
    return torch.optim.AdamW(
        module.parameters(),
        lr=chosen.learning_rate,
        betas=chosen.betas,
        eps=chosen.eps,
        weight_decay=chosen.weight_decay,
        fused=fused or None,
    )


def peer_step(model: Model, options: ImportOptions, values: Mapping[str, Tensor], given: argparse.Namespace) -> Any:
    """A training step of the peer on this rank's part of the inputs; it returns the loss."""
    model = real_model(model, options.seed)
    model.set_training(True)
    chosen, kind = options.optimizer, chosen_loss(model, options)
    assert chosen is not None
    assert kind is not None
    args, kwargs = model.rebuild([values[name] for name in model.names])
    module = wrapped(model.module, given.peer)
    optimizer = optimizer_of(module, chosen, given.fused)
    called = torch.compile(module) if given.compile else module

    def step() -> float:
        optimizer.zero_grad()
        loss = losses.apply_loss(kind, losses.prediction(called(*args, **kwargs)), values[TARGET])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total = loss.detach().clone()
        dist.all_reduce(total)
        return float(total) / dist.get_world_size()

    return step


def timed(step: Callable[[], float]) -> tuple[float, float, float]:
    """Loss, seconds and processor seconds of one step, from when all ranks are ready until all are done."""
    dist.barrier()
    start, processor = time.perf_counter(), time.process_time()
    loss = step()
    dist.barrier()
    return loss, time.perf_counter() - start, time.process_time() - processor


def main() -> None:
    """Run both in turn and print the ratio of the medians on rank 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="output of jogak compile --target torch --train adamw")
    parser.add_argument("--peer", choices=PEERS, default="ddp")
    parser.add_argument("--fused", action="store_true", help="the peer's optimizer is the fused one")
    parser.add_argument("--compile", action="store_true", help="both sides through inductor")
    parser.add_argument("--steps", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(1)
    ours = jogak.load(given.folder, timeout=600.0, compile=given.compile)
    configuration = Configuration.from_json(ours.manifest["configuration"])
    theirs = peer_step(
        load_model(configuration.model, configuration.options),
        configuration.options,
        _local_inputs(ours, given.peer),
        given,
    )
    rows = [(timed(lambda: float(ours()["loss"])), timed(theirs)) for _ in range(WARM_UP + given.steps)]
    if ours.mesh.rank == 0:
        _tell(rows, given)


def _local_inputs(step: Step, peer: str) -> dict[str, Tensor]:
    """This rank's part of the example inputs; a leading dimension that the plan does not split is split by rank.

    Tensor parallelism has the whole batch on every rank.
    """
    world, rank = dist.get_world_size(), dist.get_rank()
    values = {}
    for name in step.inputs:
        value, entry = step.input(name), step.entry(name)
        split = peer == "tp" or value.shape[0] != entry["shape"][0]
        values[name] = value if split else value.chunk(world)[rank]
    return values


def _tell(rows: list[tuple[tuple[float, float, float], tuple[float, float, float]]], given: Any) -> None:
    apart = max(abs(ours[0] - theirs[0]) / abs(theirs[0]) for ours, theirs in rows)
    kept = rows[WARM_UP:]
    peer = f"{given.peer}{' compiled' if given.compile else ''}{' with the fused optimizer' if given.fused else ''}"
    print(f"losses of {len(rows)} steps: at most {apart:.1e} apart (relative)")
    for what, at in (("step", 1), ("processor time", 2)):
        ours = statistics.median(row[0][at] for row in kept)
        theirs = statistics.median(row[1][at] for row in kept)
        print(f"{what}: jogak {ours * 1e3:.1f} ms, {peer} {theirs * 1e3:.1f} ms, ratio {theirs / ours:.2f}x")
