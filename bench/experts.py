"""The plan that the search finds against the plans of experts, priced by the same model under the same memory limit.

    python bench/experts.py [NAME ...] [--devices 8] [--mesh data=8,model=8] [--machine a100-80g]

For each model the step time and its lower bound, then each expert's time relative to it. What an expert leaves open is
searched, too; an expert's plan that does not fit the memory says so.
"""

from __future__ import annotations

import argparse
import time

from jogak.autoshard.meshes import meshes
from jogak.autoshard.plan import SearchOptions, search_plan
from jogak.cost.machine_file import load_machine
from jogak.cost.model import Roofline
from jogak.ingress.importer import import_program
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.ir.pipelines import NORMALIZE
from jogak.registry import default_registry
from jogak.sharding.annotation import read_arguments
from jogak.sharding.mesh import Mesh
from jogak.sharding.reading import read_graph
from jogak.testing.experts import MODELS, PLANS, expert_seeds
from jogak.text import duration


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(MODELS), help="models; all of them by default")
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--mesh", help="one mesh instead of all for the number of devices")
    parser.add_argument("--machine", default="a100-80g")
    parser.add_argument("--time-limit", type=float, default=20.0)
    options = parser.parse_args()
    machine = load_machine(options.machine)
    candidates = [Mesh.parse(options.mesh)] if options.mesh else list(meshes(options.devices))
    print("model | mesh | step | bound | gap | seconds | " + " | ".join(PLANS))
    for name in options.names:
        module = import_program(MODELS.get(name, name), ImportOptions(Optimizer("adamw"), None, "bf16")).module
        run_pipeline(module, NORMALIZE)
        function = main_function(module).operation
        graph = read_graph(function, default_registry().rules()).graph
        arguments = read_arguments(function)
        searching = SearchOptions(machine.device.memory_bytes, options.time_limit)
        start = time.monotonic()
        results = {mesh: search_plan(graph, Roofline(machine, mesh), (), searching)[1] for mesh in candidates}
        seconds = time.monotonic() - start
        best = min(results, key=lambda mesh: results[mesh].objective)
        found = results[best]
        cells = [name, str(best), duration(found.objective), duration(found.lower_bound), f"{found.gap:.2%}"]
        cells.append(f"{seconds:.1f}")
        for plan in PLANS:
            times = []
            for mesh in candidates:
                if plan.startswith("Megatron") and len(mesh.axes) < 2:
                    continue
                seeds = expert_seeds(plan, arguments, mesh)
                times.append(search_plan(graph, Roofline(machine, mesh), seeds, searching)[1].objective)
            least = min(times)
            cells.append("does not fit" if least == float("inf") else f"{least / found.objective:.3f}x")
        print(" | ".join(cells), flush=True)


if __name__ == "__main__":
    main()
