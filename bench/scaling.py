"""How the time of the search grows with layers and devices: `python bench/scaling.py [--model llama|gpt2]`.

Prints a row for each size: ops, decisions, and seconds of reading the program, posing the problem and solving it, with
their sum relative to the first row. A meta-device model is compiled; no weight is made.
"""

from __future__ import annotations

import argparse
import gc
import time

from jogak.autoshard.plan import SearchOptions, pose
from jogak.autoshard.solving import solve_model
from jogak.cost.machine_file import load_machine
from jogak.cost.model import Roofline
from jogak.ingress.importer import import_program
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipelines import NORMALIZE
from jogak.registry import default_registry
from jogak.sharding.graph import Graph
from jogak.sharding.mesh import Mesh
from jogak.sharding.reading import read_graph

MODELS = {
    "llama": "zoo:llama?preset=8b&layers={layers}&sequence=2048&batch=64",
    "gpt2": "zoo:gpt2?layers={layers}&batch=64",
}


def read(model: str, layers: int) -> Graph:
    """The graph of a training step."""
    options = ImportOptions(Optimizer("adamw"), None, "bf16")
    module = import_program(MODELS[model].format(layers=layers), options).module
    run_pipeline(module, NORMALIZE)
    return read_graph(main_function(module).operation, default_registry().rules()).graph


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="gpt2")
    parser.add_argument("--layers", type=int, nargs="*", default=[12, 24, 48, 96])
    parser.add_argument("--devices", type=int, nargs="*", default=[8, 64, 512, 4096])
    options = parser.parse_args()
    machine = load_machine("a100-80g")
    print("layers | mesh | ops | decisions | pose s | solve s | search s | relative | objective ms | gap")
    base = None
    gc.disable()  # as the compiler does behind the import
    for layers in options.layers:
        graph = read(options.model, layers)
        for devices in options.devices if layers == options.layers[0] else options.devices[1:2]:
            mesh = Mesh(("data", "model"), (max(devices // 8, 2), min(8, devices // 2)))
            start = time.perf_counter()
            model = pose(graph, Roofline(machine, mesh), (), SearchOptions())
            posed = time.perf_counter()
            outcome = solve_model(model, limit=None, time_limit=20)
            end = time.perf_counter()
            base = base or end - start
            cells = [
                f"{layers}", str(mesh), f"{len(graph.nodes)}", f"{len(model.members)}", f"{posed - start:.2f}",
                f"{end - posed:.2f}", f"{end - start:.2f}", f"{(end - start) / base:.2f}",
                f"{1e3 * outcome.objective:.2f}", f"{outcome.gap:.2%}",
            ]  # fmt: skip
            print(" | ".join(cells), flush=True)


if __name__ == "__main__":
    main()
