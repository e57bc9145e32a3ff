"""To MLIR's `shard` dialect and back: random programs of every kind of op keep their shardings."""

from __future__ import annotations

from random import Random

import pytest
from torch_mlir import ir

from jogak.ir.context import new_context, parse_module
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.sharding.annotation import read_shardings
from jogak.sharding.mesh import Mesh
from jogak.sharding.reading import read_graph
from jogak.sharding.sharding import Sharding
from jogak.sharding.upstream import sharding_of, split_axes
from jogak.testing.differential import random_case
from jogak.testing.random_ops import random_program

MESH = Mesh(("a", "b", "c"), (2, 2, 2))


def shardings(module: ir.Module, mesh: Mesh) -> list[str]:
    function = main_function(module).operation
    reading = read_graph(function, {})
    return [str(each.complete()) for each in read_shardings(function, reading, mesh)]


@pytest.mark.parametrize("seed", range(25))
def test_a_program_comes_back_as_it_went(seed):
    random = Random(seed)
    case = random_case(random, random_program(random, 6))
    module = parse_module(case.annotated, new_context())
    if "jogak.sharding" not in case.annotated:
        run_pipeline(module, "builtin.module(jogak-propagate)")
    expected = shardings(module, case.mesh)
    run_pipeline(module, "builtin.module(jogak-convert-sharding-to-shard)")
    assert module.operation.verify()
    assert "jogak.sharding" not in str(module)
    run_pipeline(module, "builtin.module(jogak-convert-shard-to-sharding)")
    assert "shard.shard" not in str(module)
    assert shardings(module, case.mesh) == expected


@pytest.mark.parametrize("text", ["[]", "[_]", "[a, _]", "[_, _]", "[c a, b]", "[_, a b c, _]"])
def test_split_axes_both_ways(text):
    sharding = Sharding.parse(text)
    with new_context(), ir.Location.unknown():
        module = ir.Module.parse("shard.grid @mesh(shape = 2x2x2)\nfunc.func @main() {\n  return\n}")
        function = module.body.operations[1]
        with ir.InsertionPoint(function.entry_block.operations[0]):
            from torch_mlir.dialects import shard

            grid = ir.FlatSymbolRefAttr.get("mesh")
            op = shard.ShardingOp(grid, split_axes(sharding, MESH), [], []).operation
        assert module.operation.verify()
        assert sharding_of(op, sharding.rank, MESH) == sharding
