"""Shardy on the programs: runs in an environment with JAX, prints one JSON object a line.

Each has the program in StableHLO without shardings, and the collectives that Shardy makes: propagation, explicit
reshards, then collectives, with the passes of the jaxlib wheel. Of each collective it prints the devices of a group and
bytes of one device: the larger of what it puts in and gets out, padding included. Shardy can leave windows that reach
over the border of a piece to the partitioner behind it, or move the data itself: of two complete programs the one with
fewer bytes counts.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import jax
import jax.numpy as jnp
from jax._src.interpreters import mlir as jax_mlir
from jaxlib.mlir import ir, passmanager
from jaxlib.mlir.dialects import sdy
from programs import PROGRAMS, Program

PIPELINE = (
    "builtin.module(sdy-propagation-pipeline,func.func(sdy-insert-explicit-reshards{enable-full-version=true}),"
    "WINDOWS func.func(sdy-reshard-to-collectives),canonicalize,cse)"
)
WINDOWS = "sdy-resolve-permutation-factors,"
KINDS = {
    "sdy.all_reduce": "all_reduce",
    "sdy.all_gather": "all_gather",
    "sdy.reduce_scatter": "reduce_scatter",
    "sdy.all_to_all": "all_to_all",
    "sdy.collective_permute": "permute",
}
Counted = dict[str, list[tuple[int, int]]]
"""Kind to (bytes, devices of a group) of each collective."""
LOCAL = {"sdy.all_slice", "sdy.constant", "sdy.replicated_to_unreduced"}
"""Ops that move nothing between devices."""


def sdy_sharding(text: str) -> str:
    """`[x y ?, _]` as Shardy writes it."""
    body = text.strip()[1:-1].strip()
    dims = []
    for part in body.split(",") if body else []:
        words = [word if word == "?" else f'"{word}"' for word in part.split() if word != "_"]
        dims.append("{" + ", ".join(words) + "}")
    return f"#sdy.sharding<@mesh, [{', '.join(dims)}]>"


def lowered(program: Program) -> str:
    """StableHLO without function calls."""
    kinds = {"f32": jnp.float32, "i32": jnp.int32}
    arguments = [jax.ShapeDtypeStruct(each[0], kinds[each[2] if len(each) > 2 else "f32"]) for each in program.inputs]
    text = jax.jit(program.function).lower(*arguments).as_text()
    with jax_mlir.make_ir_context():
        module = ir.Module.parse(text)
        passmanager.PassManager.parse("builtin.module(inline,symbol-dce,canonicalize,cse)").run(module.operation)
        return str(module)


def annotated(program: Program, text: str) -> ir.Module:
    axes = ", ".join(f'"{axis}"={size}' for axis, size in program.mesh)
    module = ir.Module.parse(
        re.sub(r"(module @\S+ attributes \{[^\n]*\} \{\n)", rf"\1  sdy.mesh @mesh = <[{axes}]>\n", text)
    )
    function = next(each for each in module.body.operations if each.operation.name == "func.func")
    given = [sdy_sharding(each[1]) for each in program.inputs]
    function.attributes["arg_attrs"] = ir.ArrayAttr.get([dictionary(text) for text in given])
    count = len(function.type.results)
    results = [*program.results, *[None] * (count - len(program.results))]
    function.attributes["res_attrs"] = ir.ArrayAttr.get([dictionary(text and sdy_sharding(text)) for text in results])
    return module


def dictionary(sharding: str | None) -> ir.Attribute:
    return ir.DictAttr.get({"sdy.sharding": ir.Attribute.parse(sharding)} if sharding else {})


def pieces(sharding: Any, shape: list[int], mesh: dict[str, int]) -> int:
    """Elements of one device."""
    total = 1
    for dim, size in enumerate(shape):
        parts = 1
        if sharding is not None:
            for axis in sdy.DimensionShardingAttr(sdy.TensorShardingAttr(sharding).dimension_shardings[dim]).axes:
                axis = sdy.AxisRefAttr(axis)
                info = axis.sub_axis_info
                parts *= mesh[axis.name] if info is None else sdy.SubAxisInfoAttr(info).size
        total *= -(-size // parts)
    return total


def sharding_of(value: ir.Value, function: Any) -> Any:
    if isinstance(value.owner, ir.Block):
        number = ir.BlockArgument(value).arg_number
        attributes = ir.ArrayAttr(function.attributes["arg_attrs"])[number]
        return attributes["sdy.sharding"] if "sdy.sharding" in attributes else None  # noqa: SIM401
    op = value.owner
    if "out_sharding" in op.attributes:
        return op.attributes["out_sharding"]
    if "sdy.sharding" not in op.attributes:
        return None
    return sdy.TensorShardingPerValueAttr(op.attributes["sdy.sharding"]).shardings[ir.OpResult(value).result_number]


def group(op: Any, mesh: dict[str, int]) -> int:
    """Devices of a group: the axes stand between the name of the op and its operand."""
    total = 1
    for axis, size in re.findall(r'"(\w+)"(?::\(\d+\)(\d+))?', str(op).split(op.name, 1)[1].split("%", 1)[0]):
        total *= int(size) if size else mesh[axis]
    return total


def collectives(module: ir.Module, mesh: dict[str, int]) -> Counted:
    found: Counted = {}
    function = next(each for each in module.body.operations if each.operation.name == "func.func")
    for view in function.entry_block.operations:
        op = view.operation
        if not op.name.startswith("sdy.") or op.name in LOCAL:
            continue
        kind = KINDS[op.name]
        sizes = []
        for value in (op.operands[0], op.results[0]):
            type_ = ir.RankedTensorType(value.type)
            width = int(re.sub(r"\D", "", str(type_.element_type)) or 64)
            sizes.append(pieces(sharding_of(value, function), list(type_.shape), mesh) * max(width // 8, 1))
        found.setdefault(kind, []).append((max(sizes), group(op, mesh)))
    return found


def moved(counted: Counted) -> int:
    return sum(bytes_ for made in counted.values() for bytes_, _ in made)


def partitioned(program: Program, text: str, windows: str) -> tuple[Counted, str]:
    """The collectives of Shardy's program, and the program."""
    with jax_mlir.make_ir_context(), ir.Location.unknown():
        module = annotated(program, text)
        passmanager.PassManager.parse(PIPELINE.replace("WINDOWS ", windows)).run(module.operation)
        return collectives(module, dict(program.mesh)), str(module)


def main() -> int:
    """Print a line for each program whose name contains one of the arguments; for all without arguments."""
    wanted = sys.argv[1:]
    for program in PROGRAMS:
        if wanted and not any(word in program.name for word in wanted):
            continue
        entry: dict[str, Any] = {"name": program.name, "mesh": list(program.mesh)}
        entry["inputs"] = [each[1] for each in program.inputs]
        entry["results"] = list(program.results)
        entry["stablehlo"] = lowered(program)
        made = [partitioned(program, entry["stablehlo"], WINDOWS)]
        if not program.window:
            made.append(partitioned(program, entry["stablehlo"], ""))
        entry["shardy"], entry["partitioned"] = min(made, key=lambda each: moved(each[0]))
        print(json.dumps(entry), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
