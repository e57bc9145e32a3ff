"""Sums that are split: the same bits, less memory, and only what can be split is."""

from __future__ import annotations

import pytest
import torch
from torch_mlir import ir

from jogak.ir.context import new_context
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.memory.attributes import ARENA
from jogak.memory.split import can_split, split_chains
from jogak.runtime.program import load_program
from jogak.runtime.simulator import simulate
from jogak.runtime.values import drawn_values
from jogak.sharding.mesh import Mesh

TERMS = 6
MAP = "affine_map<(d0, d1) -> (d0, d1)>"


def program(body: str) -> str:
    """A sum of padded pieces of one argument; `body` combines %t0, %t1, … and yields."""
    pads = "\n".join(
        f"""  %p{k} = tensor.pad %x low[{k}, 0] high[{TERMS - 1 - k}, 0] {{
  ^bb0(%i: index, %j: index):
    tensor.yield %zero : f32
  }} : tensor<27x32xf32> to tensor<32x32xf32>"""
        for k in range(TERMS)
    )
    operands = ", ".join(f"%p{k}" for k in range(TERMS))
    types = ", ".join(["tensor<32x32xf32>"] * TERMS)
    inside = ", ".join(f"%t{k}: f32" for k in range(TERMS))
    return f"""func.func @main(%x: tensor<27x32xf32> {{jogak.name = "x", jogak.role = "input"}})
    -> (tensor<32x32xf32> {{jogak.name = "y", jogak.role = "output"}}) {{
  %zero = arith.constant 0.0 : f32
{pads}
  %e = tensor.empty() : tensor<32x32xf32>
  %r = linalg.generic {{
    indexing_maps = [{", ".join([MAP] * (TERMS + 1))}], iterator_types = ["parallel", "parallel"]
  }} ins({operands} : {types}) outs(%e : tensor<32x32xf32>) {{
  ^bb0({inside}, %out: f32):
    {body}
  }} -> tensor<32x32xf32>
  return %r : tensor<32x32xf32>
}}"""


def chain() -> str:
    lines, last = ["%k = arith.constant 1.5 : f32"], "%t0"
    for number in range(1, TERMS):
        lines.append(f"%m{number} = arith.mulf %t{number}, %k : f32")
        lines.append(f"%s{number} = arith.addf {last}, %m{number} : f32")
        last = f"%s{number}"
    return "\n    ".join([*lines, f"linalg.yield {last} : f32"])


def run(text: str, pipeline: str):
    module = ir.Module.parse(text, new_context())
    run_pipeline(module, f"builtin.module({pipeline})")
    loaded = load_program(module)
    interface = [
        {"name": a.name, "shape": a.type.shape, "element": a.type.element, "role": a.role} for a in loaded.arguments
    ]
    return module, simulate(loaded, Mesh(("device",), (1,)), [drawn_values(interface, 0)])


def test_bits_stay_and_the_arena_is_smaller():
    whole, plain = run(program(chain()), "jogak-plan-memory")
    split, small = run(program(chain()), "jogak-rematerialize{memory=20KiB},jogak-plan-memory,cse")
    arenas = [int(main_function(module).attributes[ARENA].value) for module in (whole, split)]
    assert arenas[1] <= 20 * 1024 < arenas[0]
    assert str(split).count("linalg.generic") == TERMS - 1
    assert [use.extent for use in small.memory] == [arenas[1]]
    assert all(torch.equal(a, b) for a, b in zip(plain.outputs[0], small.outputs[0], strict=True))


@pytest.mark.parametrize(
    "body",
    [
        # each term goes on twice: what would be cut is no single value
        "%a = arith.addf %t0, %t1 : f32\n %b = arith.mulf %t0, %t1 : f32\n %c = arith.addf %t2, %t3 : f32\n"
        "%d = arith.mulf %a, %c : f32\n %f = arith.mulf %b, %t4 : f32\n %g = arith.addf %d, %f : f32\n"
        "%h = arith.addf %g, %t5 : f32\n linalg.yield %h : f32",
    ],
)
def test_only_single_values_are_cut(body):
    module = ir.Module.parse(program(body), new_context())
    function = main_function(module).operation
    ops = [
        view.operation for view in function.regions[0].blocks[0].operations if view.operation.name == "linalg.generic"
    ]
    assert can_split(ops[0])
    with module.context:
        split_chains(ops)
    module.operation.verify()
    reads = [
        len(list(view.operation.operands)) - 1
        for view in function.regions[0].blocks[0].operations
        if view.operation.name == "linalg.generic"
    ]
    assert sum(reads) == TERMS + len(reads) - 1
    assert max(reads) >= 4
