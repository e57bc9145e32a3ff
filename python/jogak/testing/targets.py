"""The speed of one plan on several targets, and of PyTorch eager, in the same processes, step by step in turn.

For the target iree also the memory that its allocator counted, beside what was planned.

torchrun --nproc-per-node 2 bench/targets.py FOLDER FOLDER ...
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

import jogak
from jogak.configuration import Configuration
from jogak.ingress import losses
from jogak.ingress.losses import TARGET
from jogak.ingress.model import load_model
from jogak.ingress.options import ImportOptions
from jogak.ingress.reference import real_model
from jogak.ingress.step import chosen_loss
from jogak.targets.distributed.load import Step

WARM_UP = 3


def eager_step(name: str, options: ImportOptions, values: Mapping[str, Tensor]) -> Callable[[], float]:
    """A training step as PyTorch's users write it, with DistributedDataParallel on several processes."""
    model = real_model(load_model(name, options), options.seed)
    model.set_training(True)
    chosen, kind = options.optimizer, chosen_loss(model, options)
    assert chosen is not None
    assert kind is not None
    args, kwargs = model.rebuild([values[each] for each in model.names])
    module = DistributedDataParallel(model.module) if dist.is_initialized() else model.module
    rate, decay = chosen.learning_rate, chosen.weight_decay
    optimizer: torch.optim.Optimizer
    if chosen.kind == "adamw":
        optimizer = torch.optim.AdamW(
            module.parameters(), lr=rate, betas=chosen.betas, eps=chosen.eps, weight_decay=decay
        )
    else:
        optimizer = torch.optim.SGD(module.parameters(), lr=rate, momentum=chosen.momentum, weight_decay=decay)

    def step() -> float:
        optimizer.zero_grad()
        loss = losses.apply_loss(kind, losses.prediction(module(*args, **kwargs)), values[TARGET])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(loss.detach())

    return step


def local_inputs(step: Step) -> dict[str, Tensor]:
    """This rank's part of the example inputs."""
    return {name: step.input(name) for name in step.inputs}


def timed(step: Callable[[], object]) -> tuple[float, float]:
    """Seconds and processor seconds of one step, from when all ranks are ready until all are done."""
    if dist.is_initialized():
        dist.barrier()
    start, processor = time.perf_counter(), time.process_time()
    step()
    if dist.is_initialized():
        dist.barrier()
    return time.perf_counter() - start, time.process_time() - processor


def main() -> None:
    """Run all in turn and print medians and ratios on rank 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="outputs of jogak compile: one plan, several targets")
    parser.add_argument("--steps", type=int, default=11)
    given = parser.parse_args()
    torch.set_num_threads(1)
    steps: dict[str, Callable[[], object]] = {}
    programs: dict[str, Step] = {}
    for folder in given.folders:
        programs[folder.name] = loaded = jogak.load(folder)
        configuration = Configuration.from_json(loaded.manifest["configuration"])
        steps[f"{configuration.target} ({folder.name})"] = loaded
    steps["PyTorch eager"] = eager_step(configuration.model, configuration.options, local_inputs(loaded))
    rows = [{name: timed(step) for name, step in steps.items()} for _ in range(WARM_UP + given.steps)]
    if int(os.environ.get("RANK", "0")) == 0:
        _tell(rows[WARM_UP:])
        for name, program in programs.items():
            taken = getattr(program.constants, "peak_bytes", None)
            if taken is not None:
                planned = program.manifest["predicted"]["peak_memory_bytes"]
                print(f"{name}: {taken} bytes, {planned} planned, {taken / planned:.4f}")


def _tell(rows: list[dict[str, tuple[float, float]]]) -> None:
    wall = {name: statistics.median(row[name][0] for row in rows) for name in rows[0]}
    cpu = {name: statistics.median(row[name][1] for row in rows) for name in rows[0]}
    eager = list(wall)[-1]
    for name in wall:
        print(
            f"{name:28} step {wall[name] * 1e3:8.1f} ms  {wall[eager] / wall[name]:5.2f}x   "
            f"processor {cpu[name] * 1e3:8.1f} ms  {cpu[eager] / cpu[name]:5.2f}x"
        )
