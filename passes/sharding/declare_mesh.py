"""The pass `jogak-declare-mesh`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir

from jogak.ir.grid import declare_mesh
from jogak.plugin import Pass
from jogak.sharding.mesh import Mesh


@dataclass(frozen=True)
class DeclareMesh(Pass):
    """Declare the device mesh at the top of the module.

    Before: any module. A mesh that it declares already is replaced.

    After: `shard.grid @mesh` with the axis names in `jogak.axes`.

    Options:
        mesh: `2x4`, `8` or `data=2,model=4` (in a pipeline: `mesh="data=2,model=4"`).

    Failure: the mesh cannot be read, an axis is named twice.

    Example:
        ```mlir before {mesh=2x4}
        func.func @main(%arg0: tensor<8xf32>) -> tensor<8xf32> {
          return %arg0 : tensor<8xf32>
        }
        ```
        ```mlir after
        shard.grid @mesh(shape = 2x4) {jogak.axes = ["data", "model"]}
        ```
    """

    name: ClassVar[str] = "jogak-declare-mesh"
    mesh: str = "1"

    def run(self, module: ir.Module) -> None:
        declare_mesh(module, Mesh.parse(self.mesh))
