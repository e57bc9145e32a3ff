"""The pass `jogak-propagate`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir

from jogak.ir.diagnostics import fail, remark, warn
from jogak.ir.grid import declare_mesh, require_mesh
from jogak.ir.module import main_function
from jogak.plugin import Pass
from jogak.registry import active_registry
from jogak.sharding.annotation import annotate, axes_of_constraints, read_constraints
from jogak.sharding.mesh import Mesh
from jogak.sharding.outcome import Lost, Propagated
from jogak.sharding.reading import Reading, read_graph
from jogak.sharding.refinement import propagate_refined
from jogak.sharding.telling import describe_conflicts, describe_lost, describe_overruled


@dataclass(frozen=True)
class Propagate(Pass):
    """Give every value a sharding, from the constraints on some of them.

    Before: the module declares a mesh; arguments and ops may carry `jogak.constraint = "[data, _, model ?]"`, or an
    array of several requests. Beside the dimensions a request may say `any(data)`, `replicated(model)`, `group(NAME)`,
    `barrier`, `barrier(forward)`, `barrier(backward)` and `p1`.

    After: every argument, op and result carries `jogak.sharding`, at a fixed point of forward and backward propagation
    over the factors of each op. Constraints hold exactly; an updated argument and its new value agree. An axis that
    has to cover two dimensions of a reshape is taken apart in `shard.grid` into sub-axes, `x:(1)2` and `x:(2)2`.

    Options:
        agreed: where the tensors of an op disagree, only what they have in common goes on; otherwise the larger
            tensor is followed.

    Failure: no mesh; a constraint that does not fit its value or the mesh; two of one priority that contradict each
    other. A dimension that has too few elements, or that a reshape takes apart into sizes that the axis does not
    divide, stays whole, and a constraint that one of an earlier priority leaves no room for does not hold: these are
    warnings. Where shardings of two constraints meet in an op that cannot keep both, a remark names both.

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
        declared = require_mesh(module)
        function = main_function(module).operation
        reading = read_graph(function, active_registry().rules())
        named = declared.cut_for(axes_of_constraints(function, reading))
        mesh, result = propagate_refined(
            reading.graph, named, lambda mesh: read_constraints(function, reading, mesh), agreed=self.agreed
        )
        if mesh != declared:
            declare_mesh(module, mesh)
        annotate(function, reading, result.shardings, mesh)
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
    for lost, count in _distinct(result.lost).items():
        more = f" (and {count - 1} more like it)" if count > 1 else ""
        warn(reading.ops[lost.node], f"{describe_lost(lost, reading.graph, mesh)}{more}")
    for overruled in result.overruled:
        message, hint = describe_overruled(overruled)
        value = reading.graph.values[overruled.value]
        where = function if value.producer is None else reading.ops[value.producer]
        if overruled.equal:
            fail(where, f"{value.name or 'a value'}: {message}", hint=hint)
        warn(where, f"{value.name or 'a value'}: {message}", hint=hint)
    for line, node in describe_conflicts(result, reading.graph):
        remark(reading.ops[node], line)


def _distinct(lost: Iterable[Lost]) -> dict[Lost, int]:
    """The first of those that are alike, and how many there are: repeated layers are told once."""
    first: dict[object, Lost] = {}
    counts: dict[Lost, int] = {}
    for each in lost:
        told = first.setdefault((each.sizes, each.at, each.axes), each)
        counts[told] = counts.get(told, 0) + 1
    return counts
