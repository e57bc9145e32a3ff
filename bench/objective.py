"""How far the search's price of a plan is from the promise that a clock makes of the finished program.

    python bench/objective.py [NAME ...] [--devices 8] [--machine a100-80g]

A line for each model: what the search minimized, what is promised of the plan after partition, and their ratio; the
same for what the step computes and communicates. The search prices a copy for each op that needs it and knows no order;
the program shares copies, puts small collectives of all kinds into buckets, and has ends where nothing is left to hide
behind.
"""

from __future__ import annotations

import argparse

from jogak.compiler import compile_configuration
from jogak.configuration import Configuration
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.testing import experts
from jogak.text import duration

MODELS = {name: spec for name, spec in experts.MODELS.items() if not name.startswith("llama")} | {
    "llama-8b, 8 layers": "zoo:llama?preset=8b&layers=8&sequence=2048&batch=16"
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(MODELS), help="models; all of them by default")
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--machine", default="a100-80g")
    options = parser.parse_args()
    training = ImportOptions(Optimizer("adamw"), None, "bf16")
    print("model | mesh | searched | promised | promised / searched | computing | communicating")
    for name in options.names:
        spec, mesh = MODELS.get(name, name), f"devices={options.devices}"
        asked = Configuration(spec, mesh, training, machine=options.machine, searched="mesh")
        made = compile_configuration(asked, stop_after="partition")
        assert made.search is not None
        assert made.promise is not None
        best, told = made.search.found[0].outcome, made.promise
        pairs = [
            (best.objective, told.step_time_s),
            (best.compute_s, told.compute_time_s),
            (best.communication_s, told.communication_time_s),
        ]
        ratios = [after / before if before else 1.0 for before, after in pairs]
        cells = [name, str(made.mesh), duration(best.objective), duration(told.step_time_s)]
        print(" | ".join([*cells, *(f"{ratio:.3f}" for ratio in ratios)]), flush=True)


if __name__ == "__main__":
    main()
