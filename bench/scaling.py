"""How the time of the search grows with layers and devices: `python bench/scaling.py [--model llama|gpt2]`.

Prints a row for each size: ops, decisions, and CPU seconds of the search in its three parts: folding repeated layers
(all that is linear in the ops), posing and solving; with their sum relative to the fewest layers on the same mesh.
Every search is made `--repeats` times from empty caches, the sizes in turn so that all meet the machine in the same
state, and the fastest counts: what a busy machine adds is not growth. Once more it runs under a profiler: how many
function calls it takes does not depend on the machine at all.
Reading the ops of the module, which every compilation does, is beside it. A meta-device model is compiled; no weight is
made.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import time

from jogak.autoshard.plan import Program, SearchOptions, pose
from jogak.autoshard.solving import Effort, solve_model
from jogak.autoshard.strategies import kept_of, op_strategies, operands_of, placements, results_of
from jogak.autoshard.transitions import network
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


def read(model: str, layers: int) -> tuple[Graph, float]:
    """The graph of a training step, and the seconds of reading it from the module."""
    options = ImportOptions(Optimizer("adamw"), None, "bf16")
    module = import_program(MODELS[model].format(layers=layers), options).module
    run_pipeline(module, NORMALIZE)
    start = time.process_time()
    graph = read_graph(main_function(module).operation, default_registry().rules()).graph
    return graph, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="gpt2")
    parser.add_argument("--layers", type=int, nargs="*", default=[12, 24, 48, 96])
    parser.add_argument("--devices", type=int, nargs="*", default=[8, 64, 512, 4096])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(
        "layers | mesh | ops | decisions | read s | fold s | pose s | solve s | search s | relative"
        " | calls | relative | step ms | gap"
    )
    gc.disable()  # as the compiler does behind the import
    graphs = [read(options.model, layers) for layers in options.layers]
    for devices in options.devices:
        mesh = Mesh(("data", "model"), (max(devices // 8, 2), min(8, devices // 2)))
        rounds = [[search(graph, mesh) for graph, _ in graphs] for _ in range(options.repeats)]
        fastest = [min(found) for found in zip(*rounds, strict=True)]
        calls = [count_calls(graph, mesh) for graph, _ in graphs]
        for at, (seconds, cells) in enumerate(fastest):
            row = [
                f"{options.layers[at]}",
                str(mesh),
                *cells[:2],
                f"{graphs[at][1]:.2f}",
                *cells[2:-2],
                f"{seconds / fastest[0][0]:.2f}",
                f"{calls[at]}",
                f"{calls[at] / calls[0]:.2f}",
                *cells[-2:],
            ]
            print(" | ".join(row), flush=True)


def count_calls(graph: Graph, mesh: Mesh) -> int:
    """Function calls of one search."""
    profile = cProfile.Profile()
    profile.runcall(search, graph, mesh)
    return sum(each.callcount for each in profile.getstats())


def search(graph: Graph, mesh: Mesh) -> tuple[float, list[str]]:
    """Search one mesh: seconds, and the cells of the row. Nothing is left over from a search before it."""
    clear_caches()
    machine = load_machine("a100-80g")
    start = time.process_time()
    program = Program.of(graph)
    program.folding((), None)
    folded = time.process_time()
    model = pose(program, Roofline(machine, mesh), (), SearchOptions()).whole
    posed = time.process_time()
    outcome = solve_model(model, Effort(20), limit=None)
    end = time.process_time()
    times = [folded - start, posed - folded, end - posed, end - start]
    numbers = [f"{len(graph.nodes)}", f"{len(model.sites.sites)}"]
    return end - start, [
        *numbers, *(f"{each:.2f}" for each in times), f"{1e3 * outcome.objective:.2f}", f"{outcome.gap:.2%}",
    ]  # fmt: skip


def clear_caches() -> None:
    """Forget the strategies and ways of ops that were searched before."""
    for cached in (op_strategies, results_of, operands_of, kept_of, placements, network):
        cached.cache_clear()


if __name__ == "__main__":
    main()
