"""The pass `jogak-search`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir

from jogak.cost.machine_file import DEFAULT_MACHINE, load_machine
from jogak.cost.model import ROOFLINE, cost_model
from jogak.ir.diagnostics import fail
from jogak.ir.grid import require_mesh
from jogak.ir.module import main_function
from jogak.plugin import Pass
from jogak.registry import active_registry
from jogak.sharding.annotation import read_constraints
from jogak.sharding.reading import read_graph


@dataclass(frozen=True)
class Search(Pass):
    """Find the parallelization: the cheapest sharding of every value and op on the mesh, with a proven bound.

    Before: the module declares a mesh; arguments and ops may carry `jogak.constraint = "[data, _, model ?]"`.

    After: every argument, op and result carries `jogak.sharding`, every op says in `jogak.factors` which axes split
    which of its factors, and the module says in `jogak.search` what the plan costs and what no plan can beat.
    Constraints hold exactly; an updated argument and its new value agree.

    Options:
        machine: preset or machine file that prices kernels and collectives.
        cost-model: what prices them.
        memory: bytes of a device that the plan may use; 0: the machine's memory, -1: no limit.
        time-limit: seconds of the solver; the best plan so far is taken then.
        split-heavy: contractions must be split by every axis that can split them, whatever repeating them would cost.
        unfolded: let equal layers differ, however large the program is.

    Failure: no mesh; a constraint that does not fit its value or the mesh; no plan fits the memory.

    Example:
        ```mlir before
        shard.grid @mesh(shape = 2) {jogak.axes = ["data"]}
        func.func @main(%arg0: tensor<8192x8192xf32> {jogak.constraint = "[data, _]"}) -> tensor<8192x8192xf32> {
          %0 = tensor.empty() : tensor<8192x8192xf32>
          %1 = linalg.generic {
            indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>],
            iterator_types = ["parallel", "parallel"]
          } ins(%arg0 : tensor<8192x8192xf32>) outs(%0 : tensor<8192x8192xf32>) {
          ^bb0(%in: f32, %out: f32):
            %2 = math.exp %in : f32
            linalg.yield %2 : f32
          } -> tensor<8192x8192xf32>
          return %1 : tensor<8192x8192xf32>
        }
        ```
        ```mlir after
        jogak.factors = "[data, _]"
        ```
    """

    name: ClassVar[str] = "jogak-search"
    machine: str = DEFAULT_MACHINE
    cost_model: str = ROOFLINE
    memory: int = 0
    time_limit: float = 20.0
    split_heavy: bool = False
    unfolded: bool = False

    def run(self, module: ir.Module) -> None:
        from jogak.autoshard.annotate import annotate_plan  # its solvers take a second to load
        from jogak.autoshard.infeasible import explain_infeasible
        from jogak.autoshard.plan import SearchOptions, search_plan

        mesh = require_mesh(module)
        function = main_function(module).operation
        registry = active_registry()
        machine = load_machine(self.machine)
        cost = cost_model(self.cost_model, machine, mesh, registry)
        reading = read_graph(function, registry.rules())
        limit = None if self.memory < 0 else float(self.memory or machine.device.memory_bytes)
        options = SearchOptions(limit, self.time_limit, self.split_heavy, folded=False if self.unfolded else None)
        seeds = read_constraints(function, reading, mesh)
        model, outcome, plan = search_plan(reading.graph, cost, seeds, options)
        if plan is None:
            message, hint = explain_infeasible(model, outcome, limit or 0.0)
            fail(function, message, hint=hint)
        annotate_plan(module, function, reading, outcome, plan, model)
