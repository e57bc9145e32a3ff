"""The mesh in the IR: upstream's `shard.grid` with the names of its axes beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from torch_mlir import ir
from torch_mlir.dialects import shard

from jogak.ir.diagnostics import fail
from jogak.sharding.mesh import Mesh

GRID = "mesh"


def find_mesh(module: ir.Module) -> Mesh | None:
    """The mesh that the module declares; None when it declares none."""
    for op in module.body.operations:
        if op.operation.name == "shard.grid":
            shape = tuple(int(size) for size in op.attributes["shape"])
            if "jogak.axes" in op.attributes:
                names = tuple(str(ir.StringAttr(name).value) for name in ir.ArrayAttr(op.attributes["jogak.axes"]))
            else:
                names = tuple(f"axis{number}" for number in range(len(shape)))
            return Mesh(names, shape)
    return None


def require_mesh(module: ir.Module) -> Mesh:
    """The mesh that the module declares.

    Raises:
        PassFailed: it declares none.
    """
    mesh = find_mesh(module)
    if mesh is None:
        fail(
            module.operation,
            "the module declares no mesh",
            hint="run jogak-declare-mesh{mesh=data=2,model=2} before this pass",
        )
    return mesh


def declare_mesh(module: ir.Module, mesh: Mesh) -> None:
    """Put `shard.grid @mesh` at the top of the module, in place of one that is there."""
    for op in list(module.body.operations):
        if op.operation.name == "shard.grid":
            op.operation.erase()
    with module.context, ir.Location.unknown(), ir.InsertionPoint.at_block_begin(module.body):
        grid = shard.GridOp(GRID, list(mesh.shape))
        grid.operation.attributes["jogak.axes"] = ir.ArrayAttr.get([ir.StringAttr.get(axis) for axis in mesh.axes])


def axis_array(lists: Sequence[Sequence[int]]) -> ir.Attribute:
    """`#shard<axisarray[[0], []]>`: for each dimension the numbers of its axes."""
    return ir.Attribute.parse(f"#shard<axisarray{[list(each) for each in lists]}>")


def axis_lists(attribute: ir.Attribute) -> list[list[int]]:
    """What `axis_array` was made of; the attribute has no accessor in Python."""
    found: list[list[int]] = json.loads(str(attribute).removeprefix("#shard<axisarray").removesuffix(">"))
    return found
