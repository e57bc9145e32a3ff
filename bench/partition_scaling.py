"""How propagation and partition grow with the program: GPT-2 training steps of more and more layers.

    python bench/partition_scaling.py [--layers 12,24,48,96] [--mesh data=2,model=4]

Prints a line for each program: ops, CPU seconds of propagation, of partition and of the passes behind it, and
microseconds an op, with the ratio to the first line; 1.0 everywhere is linear.
"""

from __future__ import annotations

import argparse
import gc
from time import process_time

from torch_mlir import ir

from jogak.ingress.importer import import_program
from jogak.ir.grid import declare_mesh
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipelines import NORMALIZE
from jogak.sharding.annotation import read_arguments, write_constraints
from jogak.sharding.constraints import Constraint, resolve
from jogak.sharding.mesh import Mesh
from jogak.testing.differential import AFTER_PARTITION
from jogak.testing.equality import options_of

MODEL = "zoo:gpt2?layers={layers}&heads=8&width=64&vocab=96&context=16&sequence=16&batch=8"
CONSTRAINTS = (
    "tokens=[data, _]",
    "blocks.*.attn.proj.weight=[_, model]",
    "blocks.*.mlp.up.weight=[model, _]",
    "blocks.*.mlp.down.weight=[_, model]",
)
STEPS = (
    ("propagate", "builtin.module(jogak-propagate)"),
    ("partition", "builtin.module(jogak-partition)"),
    ("optimize", AFTER_PARTITION),
)


def program(layers: int, mesh: Mesh) -> ir.Module:
    """The normalized training step, with constraints."""
    module = import_program(MODEL.format(layers=layers), options_of(True, None)).module
    run_pipeline(module, NORMALIZE)
    declare_mesh(module, mesh)
    function = main_function(module).operation
    arguments = read_arguments(function)
    constraints = [Constraint.parse(text) for text in CONSTRAINTS]
    write_constraints(function, resolve(constraints, arguments, mesh))
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", default="12,24,48,96")
    parser.add_argument("--mesh", default="data=2,model=4")
    options = parser.parse_args()
    mesh = Mesh.parse(options.mesh)
    names = "".join(f"{name:>11}" for name, _ in STEPS)
    print(f"{'layers':>6}{'ops':>8}{names}{'sum':>9}{'us/op':>8}{'ratio':>7}", flush=True)
    first = 0.0
    for layers in map(int, options.layers.split(",")):
        module = program(layers, mesh)
        ops = sum(1 for _ in main_function(module).operation.regions[0].blocks[0].operations)
        seconds = []
        gc.collect()
        gc.disable()
        for _, pipeline in STEPS:
            start = process_time()
            run_pipeline(module, pipeline)
            seconds.append(process_time() - start)
        gc.enable()
        each = sum(seconds[:2]) / ops * 1e6
        first = first or each
        told = "".join(f"{second:11.2f}" for second in seconds)
        print(f"{layers:>6}{ops:>8}{told}{sum(seconds[:2]):9.2f}{each:8.0f}{each / first:7.2f}", flush=True)


if __name__ == "__main__":
    main()
