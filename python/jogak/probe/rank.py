"""What every process of `jogak machine probe` runs under torchrun: measures, and rank 0 writes what was found."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from jogak.probe.kernels import Call, cases, other_work
from jogak.probe.measurement import CollectiveTime, KernelTime
from jogak.targets.distributed.rank import faults
from jogak.targets.distributed.rank.mesh import Axes, Mesh

TIMEOUT = 60.0
ROUNDS = 3
"""How often everything is measured; the fastest round counts, since others may use the machine for a moment."""
BETWEEN = 1 << 20
"""Elements that a kernel between two collectives reads and writes."""
BYTES = (1 << 10, 1 << 14, 1 << 17, 1 << 20, 1 << 22, 1 << 24)
"""Sizes of collectives."""


def main() -> None:
    """Measure everything."""
    faults.end_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each measurement")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=TIMEOUT))
    between = other_work()
    with torch.no_grad():
        kernels = [
            KernelTime(
                case.work,
                case.name,
                case.element,
                case.flops,
                case.bytes,
                kernel_seconds(case.call, between, given.seconds),
            )
            for case in cases(given.scale)
        ]
        links = list(collectives(given.seconds, given.scale))
    if dist.get_rank() == 0:
        found = {"kernels": [asdict(each) for each in kernels], "collectives": [asdict(each) for each in links]}
        given.output.write_text(json.dumps(found), encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()


def kernel_seconds(call: Call, between: Call, seconds: float) -> float:
    """Processor seconds of a call with other work between two of them, while every rank makes the same one.

    Where there are more ranks than cores, wall time depends on how the scheduler cuts it into slices, and on what else
    the machine does; the time of the processor does not.
    """
    call()
    call()
    return min(_mean(_stretch(call, between, seconds)) for _ in range(ROUNDS))


def _stretch(call: Call, between: Call, seconds: float) -> float:
    dist.barrier()
    start, used, count = time.perf_counter(), 0.0, 0
    while time.perf_counter() - start < seconds or not count:
        between()
        begin = time.thread_time()
        call()
        used += time.thread_time() - begin
        count += 1
    return used / count


def _mean(value: float) -> float:
    total = torch.tensor([value], dtype=torch.float64)
    dist.all_reduce(total)
    return float(total) / dist.get_world_size()


def collectives(seconds: float, scale: float) -> Iterator[CollectiveTime]:
    """Time every kind of collective in every size of group that the number of ranks has."""
    sizes = factors(dist.get_world_size())
    names = tuple(f"axis{number}" for number in range(len(sizes)))
    groups = [names[number:] for number in range(len(names))]
    mesh = Mesh(dict(zip(names, sizes, strict=True)), groups, dist.get_rank(), TIMEOUT)
    for axes in groups:
        for kind, start in STARTS.items():
            devices = mesh.size(axes)
            if kind == "send" and devices < mesh.size(names):
                continue  # between neighbours of all ranks; the size of a group does not matter
            for count in BYTES:
                elements = max(devices, int(count * scale) // 4 // devices * devices)
                call = start(mesh, axes, elements)
                yield CollectiveTime(kind, devices, 4.0 * elements, *_together(call, seconds))


def factors(number: int) -> list[int]:
    """Prime factors, the smallest last."""
    found = []
    prime = 2
    while number > 1:
        while number % prime == 0:
            found.append(prime)
            number //= prime
        prime += 1
    return found[::-1]


def _all_reduce(mesh: Mesh, axes: Axes, elements: int) -> Call:
    tensor = torch.zeros(elements)
    return lambda: mesh.all_reduce(tensor, axes, "sum", in_place=True).wait()


def _all_gather(mesh: Mesh, axes: Axes, elements: int) -> Call:
    tensor = torch.zeros(elements // mesh.size(axes))
    return lambda: mesh.all_gather(tensor, axes, 0).wait()


def _reduce_scatter(mesh: Mesh, axes: Axes, elements: int) -> Call:
    tensor = torch.zeros(elements)
    return lambda: mesh.reduce_scatter(tensor, axes, "sum", 0).wait()


def _all_to_all(mesh: Mesh, axes: Axes, elements: int) -> Call:
    tensor = torch.zeros(mesh.size(axes), elements // mesh.size(axes))
    return lambda: mesh.all_to_all(tensor, axes, 0, 1).wait()


def _send(mesh: Mesh, axes: Axes, elements: int) -> Call:
    tensor = torch.zeros(elements)
    received = torch.empty_like(tensor)
    world, rank = dist.get_world_size(), dist.get_rank()
    after, before = (rank + 1) % world, (rank - 1) % world

    def call() -> None:
        work = [dist.isend(tensor, after), dist.irecv(received, before)]
        for each in work:
            if each is not None:
                each.wait()

    return call


STARTS: dict[str, Callable[[Mesh, Axes, int], Call]] = {
    "all_reduce": _all_reduce,
    "all_gather": _all_gather,
    "reduce_scatter": _reduce_scatter,
    "all_to_all": _all_to_all,
    "send": _send,
}


def _together(call: Call, seconds: float) -> tuple[float, float]:
    """Seconds, and processor seconds, of a call that all ranks must make equally often."""
    call()
    start = time.perf_counter()
    for _ in range(3):
        call()
    once = torch.tensor([(time.perf_counter() - start) / 3], dtype=torch.float64)
    dist.all_reduce(once, dist.ReduceOp.MAX)
    count = int(min(max(seconds / float(once), 3), 100))
    rounds = [_repeated(call, count) for _ in range(ROUNDS)]
    return min(_mean(wall) for wall, _ in rounds), min(_mean(processor) for _, processor in rounds)


def _repeated(call: Call, count: int) -> tuple[float, float]:
    """One call after another with kernels between them, as in a program: threads sleep, caches hold other things."""
    left, right, square = torch.zeros(BETWEEN), torch.zeros(BETWEEN), torch.zeros(256, 256)
    wall = processor = 0.0
    dist.barrier()
    for _ in range(count):
        left.add_(right)
        torch.mm(square, square)
        start, used = time.perf_counter(), time.process_time()
        call()
        wall += time.perf_counter() - start
        processor += time.process_time() - used
    return wall / count, processor / count


if __name__ == "__main__":
    main()
