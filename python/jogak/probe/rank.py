"""What every process of `jogak machine probe` runs under torchrun: measures, and rank 0 writes what was found."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from jogak.probe.kernels import Call, cases, other_work
from jogak.probe.links import TIMEOUT, Program, collectives, mean
from jogak.probe.measurement import KernelTime
from jogak.targets.distributed.rank import faults
from jogak.targets.distributed.rank.heap import keep_memory

ROUNDS = 3
"""How often everything is measured; the fastest round counts, since others may use the machine for a moment."""


def main() -> None:
    """Measure everything."""
    faults.end_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each measurement")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()  # as programs do
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
                kernel_seconds(case.call, between, given.seconds) / case.times,
            )
            for case in cases(given.scale)
        ]
        program = Program(between, given.seconds)
        share = program.share()
        links = [asdict(each) for each in collectives(program, given.scale)]
    if dist.get_rank() == 0:
        found = {"kernels": [asdict(each) for each in kernels], "collectives": links, "share": share}
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
    return min(mean(_stretch(call, between, seconds)) for _ in range(ROUNDS))


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


if __name__ == "__main__":
    main()
