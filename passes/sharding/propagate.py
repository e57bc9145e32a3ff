"""The pass `jogak-propagate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir

from jogak.ir.diagnostics import warn
from jogak.ir.grid import require_mesh
from jogak.ir.module import main_function
from jogak.plugin import Pass
from jogak.registry import active_registry
from jogak.sharding.annotation import annotate, read_constraints
from jogak.sharding.mesh import Mesh
from jogak.sharding.propagation import Propagated, propagate
from jogak.sharding.reading import Reading, read_graph


@dataclass(frozen=True)
class Propagate(Pass):
    """Give every value a sharding, from the constraints on some of them.

    Before: the module declares a mesh; arguments and ops may carry `jogak.constraint = "[data, _, model ?]"`.

    After: every argument, op and result carries `jogak.sharding`, at a fixed point of forward and backward propagation
    over the factors of each op. Constraints hold exactly; an updated argument and its new value agree.

    Options:
        agreed: where the tensors of an op disagree, only what they have in common goes on; otherwise the larger
            tensor is followed.

    Failure: no mesh; a constraint that does not fit its value or the mesh. A dimension that has too few elements
    stays whole, and a constraint that one of an earlier priority leaves no room for does not hold: both are warnings.

    Example:
        ```mlir before
        shard.grid @mesh(shape = 2) {jogak.axes = ["data"]}
        func.func @main(%arg0: tensor<8x4xf32> {jogak.constraint = "[data, _]"}) -> tensor<4x8xf32> {
          %0 = tensor.empty() : tensor<4x8xf32>
          %1 = linalg.generic {
            indexing_maps = [affine_map<(d0, d1) -> (d1, d0)>, affine_map<(d0, d1) -> (d0, d1)>],
            iterator_types = ["parallel", "parallel"]
          } ins(%arg0 : tensor<8x4xf32>) outs(%0 : tensor<4x8xf32>) {
          ^bb0(%in: f32, %out: f32):
            linalg.yield %in : f32
          } -> tensor<4x8xf32>
          return %1 : tensor<4x8xf32>
        }
        ```
        ```mlir after
        jogak.sharding = ["[_, data]"]
        ```
    """

    name: ClassVar[str] = "jogak-propagate"
    agreed: bool = False

    def run(self, module: ir.Module) -> None:
        mesh = require_mesh(module)
        function = main_function(module).operation
        reading = read_graph(function, active_registry().rules())
        result = propagate(reading.graph, mesh, read_constraints(function, reading, mesh), agreed=self.agreed)
        annotate(function, reading, result.shardings)
        _tell(function, reading, result, mesh)


def _tell(function: ir.Operation, reading: Reading, result: Propagated, mesh: Mesh) -> None:
    """Warn of everything that was asked for, or would have followed, and does not hold."""

    def warn_of(number: int, message: str) -> None:
        value = reading.graph.values[number]
        where = function if value.producer is None else reading.ops[value.producer]
        warn(where, f"{value.name or 'a value'}: {message}")

    for skipped in result.skipped:
        size = reading.graph.values[skipped.value].shape[skipped.dim]
        warn_of(
            skipped.value,
            f"dimension {skipped.dim} has size {size}, too few elements to split it by mesh axis {skipped.axis!r} "
            f"({mesh.sizes[skipped.axis]} devices): it stays whole on that axis",
        )
    for overruled in result.overruled:
        wanted, got = " ".join(overruled.wanted), " ".join(overruled.got) or "_"
        warn_of(
            overruled.value,
            f"dimension {overruled.dim} is not split by {wanted} as {overruled.source} asks: "
            f"constraints of an earlier priority gave it {got}, or those axes to another dimension",
        )
