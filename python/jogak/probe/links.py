"""What collectives add to a program: a loop of kernels with the collective, less the same loop without it.

Timed by itself a collective seems cheaper than it is. In a program ranks come to it at different moments, above all
where they share cores, its operand has just been made in new memory, and its threads take the cores of ranks that still
compute. The difference of two loops has all of this in it, and nothing of the kernels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median

import torch
import torch.distributed as dist
from torch import Tensor

from jogak.probe.kernels import Call
from jogak.probe.measurement import CollectiveTime
from jogak.targets.distributed.rank.mesh import Axes, Mesh

Move = Callable[[Tensor], object]

TIMEOUT = 60.0
ROUNDS = 3
"""How often a collective is measured; the median counts, since differences of two times err both ways."""
LOOPS = 6
"""How often a collective is made in a round, at least."""
STRETCH = 5e-3
"""Processor seconds of the kernels between two collectives: longer than a rank runs before another has its core."""
LONG = 8
"""A program without collectives is measured for as many rounds of loops."""
LEAST = 1e-6
"""Seconds of a collective whose difference is lost in the noise."""
BYTES = (1 << 10, 1 << 16, 1 << 19, 1 << 22, 1 << 24)
"""Sizes of collectives."""


class Program:
    """A loop of kernels that every rank runs.

    Args:
        kernels: a few of them.
        seconds: of each measurement, about.
    """

    def __init__(self, kernels: Call, seconds: float) -> None:
        self._kernels = kernels
        kernels()
        start = time.thread_time()
        for _ in range(LOOPS):
            kernels()
        once = mean(time.thread_time() - start) / LOOPS
        self._repeats = max(1, round(min(STRETCH, seconds) / once))
        self._loops = max(LOOPS, round(seconds / (once * self._repeats)))

    def share(self) -> float:
        """Seconds that pass for each processor second while all ranks compute; at least 1."""
        small = torch.zeros(1)
        found = [self._run(small, None, LONG * self._loops) for _ in range(3)]
        return max(1.0, median(wall / processor for wall, processor in found))

    def added(self, operand: Tensor, move: Move) -> tuple[float, float]:
        """Seconds, and processor seconds of a rank, that a collective adds.

        Args:
            operand: of the shape that it moves.
        """
        self._run(operand, move, 2)
        pairs = [(self._run(operand, move, self._loops), self._run(operand, None, self._loops)) for _ in range(ROUNDS)]
        wall, processor = (median(with_[at] - without[at] for with_, without in pairs) for at in range(2))
        return max(wall, LEAST), max(processor, LEAST)

    def _run(self, operand: Tensor, move: Move | None, loops: int) -> tuple[float, float]:
        """Seconds of one turn of a loop, and processor seconds, mean over ranks."""
        dist.barrier()
        start, used = time.perf_counter(), time.process_time()
        for _ in range(loops):
            for _ in range(self._repeats):
                self._kernels()
            made = operand + 1.0
            if move is not None:
                move(made)
        dist.barrier()
        wall, processor = time.perf_counter() - start, time.process_time() - used
        return mean(wall) / loops, mean(processor) / loops


def mean(value: float) -> float:
    """Over all ranks."""
    total = torch.tensor([value], dtype=torch.float64)
    dist.all_reduce(total)
    return float(total) / dist.get_world_size()


def collectives(program: Program, scale: float) -> Iterator[CollectiveTime]:
    """Measure every kind of collective in every size of group that the number of ranks has.

    Args:
        scale: of all sizes; below 1 for a quick look.
    """
    sizes = factors(dist.get_world_size())
    names = tuple(f"axis{number}" for number in range(len(sizes)))
    groups = [names[number:] for number in range(len(names))]
    mesh = Mesh(dict(zip(names, sizes, strict=True)), groups, dist.get_rank(), TIMEOUT)
    for axes in groups:
        for kind, (shape, move) in _moves(mesh, axes).items():
            devices = mesh.size(axes)
            if kind == "send" and devices < mesh.size(names):
                continue  # between neighbours of all ranks; the size of a group does not matter
            for count in BYTES:
                elements = max(devices, int(count * scale) // 4 // devices * devices)
                added = program.added(torch.zeros(shape(elements)), move)
                yield CollectiveTime(kind, devices, 4.0 * elements, *added)


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


def _moves(mesh: Mesh, axes: Axes) -> dict[str, tuple[Callable[[int], tuple[int, ...]], Move]]:
    """Each kind of collective: the shape of its operand for a number of elements, and what moves it."""
    size = mesh.size(axes)
    return {
        "all_reduce": (lambda n: (n,), lambda made: mesh.all_reduce(made, axes, "sum", in_place=True).wait()),
        "all_gather": (lambda n: (n // size,), lambda made: mesh.all_gather(made, axes, 0).wait()),
        "reduce_scatter": (lambda n: (n,), lambda made: mesh.reduce_scatter(made, axes, "sum", 0).wait()),
        "all_to_all": (lambda n: (size, n // size), lambda made: mesh.all_to_all(made, axes, 0, 1).wait()),
        "send": (lambda n: (n,), _send),
    }


def _send(made: Tensor) -> None:
    """Everybody sends to the next rank, and receives from the one before."""
    world, rank = dist.get_world_size(), dist.get_rank()
    received = torch.empty_like(made)
    for work in [dist.isend(made, (rank + 1) % world), dist.irecv(received, (rank - 1) % world)]:
        if work is not None:
            work.wait()
