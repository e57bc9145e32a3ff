"""Micro-batches: what they cost, what they save, and which number the memory makes the search choose.

    python bench/micro_batches.py [--model zoo:gpt2?batch=32] [--mesh data=4] [--counts 1,2,4,8] [--memory 8GiB,4GiB]

The first table gives every number of micro-batches without a limit: ops, seconds to cut, read and search (relative to
the whole batch), the predicted step and its peak. The second gives, for each limit, the step with recomputation alone
and with the number that is chosen, and their ratio.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise

from jogak.autoshard.plan import Program, SearchOptions, search_plan
from jogak.compiler import compile_configuration
from jogak.configuration import Configuration
from jogak.cost.machine_file import load_machine
from jogak.cost.model import Roofline
from jogak.errors import JogakError
from jogak.ingress.importer import import_program
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipelines import NORMALIZE, micro_batch_pipeline
from jogak.registry import default_registry
from jogak.sharding.mesh import Mesh
from jogak.sharding.reading import read_graph
from jogak.text import duration, size

OPTIONS = ImportOptions(Optimizer("adamw"))


def counts_table(model: str, mesh: Mesh, counts: list[int], machine: str) -> None:
    """One row for each number of micro-batches."""
    module = import_program(model, OPTIONS).module
    run_pipeline(module, NORMALIZE)
    cost = Roofline(load_machine(machine), mesh)
    print("  K     ops   cut s  read s  search s  ratio  decisions  step        peak")
    first = 0.0
    for count in counts:
        cut = module.operation.clone()
        clock = [time.process_time()]
        if count > 1:
            run_pipeline(cut, micro_batch_pipeline(count))
        clock.append(time.process_time())
        program = Program.of(read_graph(main_function(cut).operation, default_registry().rules()).graph)
        clock.append(time.process_time())
        made, outcome, _ = search_plan(program, cost, (), SearchOptions())
        clock.append(time.process_time())
        seconds = [after - before for before, after in pairwise(clock)]
        first = first or seconds[2]
        print(
            f"{count:3} {len(program.graph.nodes):7} {seconds[0]:7.2f} {seconds[1]:7.2f} {seconds[2]:9.2f} "
            f"{seconds[2] / first:6.2f} {len(made.sites.sites):10}  {duration(outcome.objective):10}  "
            f"{size(outcome.peak_bytes)}",
            flush=True,
        )


def limits_table(model: str, mesh: Mesh, limits: list[str], machine: str) -> None:
    """One row for each limit."""
    print("limit      recomputation alone     chosen                         ratio")
    for limit in limits:
        told: list[str] = []
        steps: list[float] = []
        for count in (1, None):
            asked = Configuration(
                model, str(mesh), OPTIONS, searched="plan", memory=limit, machine=machine, micro_batches=count
            )
            start = time.process_time()
            try:
                made = compile_configuration(asked)
            except JogakError:
                told.append("does not fit")
                steps.append(float("inf"))
                continue
            assert made.promise is not None
            steps.append(made.promise.step_time_s)
            again = 0 if made.remat is None else made.remat["recomputed_ops"]
            told.append(
                f"K={made.configuration.micro_batches}, {duration(steps[-1])}, {again} again, "
                f"{size(made.promise.peak_memory_bytes)}, {time.process_time() - start:.0f} s"
            )
        print(f"{limit:9}  {told[0]:45}  {told[1]:45}  {steps[1] / steps[0]:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="zoo:gpt2?batch=32")
    parser.add_argument("--mesh", default="data=4")
    parser.add_argument("--machine", default="a100-80g")
    parser.add_argument("--counts", default="1,2,4,8")
    parser.add_argument("--memory", default="8GiB,4GiB")
    options = parser.parse_args()
    mesh = Mesh.parse(options.mesh)
    if options.counts:
        counts_table(options.model, mesh, [int(count) for count in options.counts.split(",")], options.machine)
    if options.memory:
        limits_table(options.model, mesh, options.memory.split(","), options.machine)


if __name__ == "__main__":
    main()
