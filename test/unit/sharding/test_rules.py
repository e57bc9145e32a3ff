"""Sharding rules read from ops: what factors there are, and why some must stay whole."""

from __future__ import annotations

import pytest
from torch_mlir import ir

from jogak.ir.context import new_context, parse_module
from jogak.ir.module import main_function
from jogak.sharding.reading import read_graph
from jogak.sharding.rule import FactorKind, OpShardingRule
from jogak.sharding.sharding import Combiner
from jogak.sharding.windows import Window


def rule(body: str, arguments: str) -> OpShardingRule:
    """The rule of the last op of a function."""
    text = f"func.func @main({arguments}) {{\n{body}\nreturn\n}}"
    module: ir.Module = parse_module(text, new_context())
    return read_graph(main_function(module).operation, {}).graph.nodes[-1].rule


def generic(maps: str, kinds: str, operands: str, region: str, init: str) -> str:
    iterators = ", ".join({"p": '"parallel"', "r": '"reduction"'}[kind] for kind in kinds)
    found = ", ".join(f"affine_map<{each.strip()}>" for each in maps.split(";"))
    return f"""%e = tensor.empty() : {init}
%y = linalg.generic {{indexing_maps = [{found}], iterator_types = [{iterators}]}} {operands} outs(%e : {init}) {{
{region}
}} -> {init}"""


COPY = "^bb0(%a: f32, %o: f32):\nlinalg.yield %a : f32"


def combining(line: str) -> str:
    return f"^bb0(%a: f32, %o: f32):\n{line}\nlinalg.yield %c : f32"


@pytest.mark.parametrize(
    ("line", "combiner"),
    [
        ("%c = arith.addf %o, %a : f32", Combiner.ADD),
        ("%c = arith.minnumf %a, %o : f32", Combiner.MIN),
        ("%s = math.exp %a : f32\n%c = arith.mulf %s, %o : f32", Combiner.MUL),
    ],
)
def test_combiners(line, combiner):
    body = generic(
        "(i, j) -> (i, j); (i, j) -> (i)", "pr", "ins(%x : tensor<4x8xf32>)", combining(line), "tensor<4xf32>"
    )
    found = rule(body, "%x: tensor<4x8xf32>")
    assert found.factors[1].kind is FactorKind.REDUCTION
    assert found.factors[1].combiners == (combiner,)
    assert not found.reason


@pytest.mark.parametrize(
    "line",
    [
        "%c = arith.subf %o, %a : f32",
        "%s = math.exp %o : f32\n%c = arith.addf %s, %a : f32",
        "%s = arith.mulf %o, %a : f32\n%c = arith.addf %o, %s : f32",
        "%c = arith.addf %o, %o : f32",
        "%s = arith.addf %o, %a : f32\n%c = math.tanh %s : f32",
    ],
)
def test_what_depends_on_the_order_is_not_split(line):
    body = generic(
        "(i, j) -> (i, j); (i, j) -> (i)", "pr", "ins(%x : tensor<4x8xf32>)", combining(line), "tensor<4xf32>"
    )
    found = rule(body, "%x: tensor<4x8xf32>")
    assert [factor.kind for factor in found.factors] == ["parallel", "blocked"]
    assert "combiner" in found.reason


def test_a_reduction_that_keeps_its_loop_in_the_result_is_parallel():
    body = generic("(i) -> (i); (i) -> (i)", "r", "ins(%x : tensor<4xf32>)", combining("%c = arith.addf %o, %a : f32"), "tensor<4xf32>")  # fmt: skip # noqa: E501
    assert rule(body, "%x: tensor<4xf32>").factors[0].kind is FactorKind.PARALLEL


def test_a_broadcast_dimension_of_size_one_has_no_factor():
    body = generic("(i, j) -> (i, 0); (i, j) -> (i, j)", "pp", "ins(%x : tensor<4x1xf32>)", COPY, "tensor<4x8xf32>")
    assert rule(body, "%x: tensor<4x1xf32>").operands[0] == ((0,), ())


def test_a_row_that_is_picked_blocks_its_dimension_only():
    body = generic("(i) -> (2, i); (i) -> (i)", "p", "ins(%x : tensor<4x8xf32>)", COPY, "tensor<8xf32>")
    found = rule(body, "%x: tensor<4x8xf32>")
    assert found.operands[0] == ((1,), (0,))
    assert [factor.kind for factor in found.factors] == ["parallel", "blocked"]


def test_of_the_loops_of_a_window_the_longest_is_split():
    body = generic(
        "(i, k) -> (i * 2 + k); (i, k) -> (k); (i, k) -> (i)",
        "pr",
        "ins(%x, %w : tensor<9xf32>, tensor<3xf32>)",
        "^bb0(%a: f32, %b: f32, %o: f32):\n%c = arith.maximumf %o, %a : f32\nlinalg.yield %c : f32",
        "tensor<4xf32>",
    )
    found = rule(body, "%x: tensor<9xf32>, %w: tensor<3xf32>")
    assert [factor.kind for factor in found.factors] == ["parallel", "blocked"]
    assert found.operands[0] == ((0,),)
    assert found.factors[0].windows == (Window(0, 0, 9, 4, stride=2, reach=3),)
    assert found.reason == ""


def test_a_window_of_size_one_is_split_only_when_it_reads_everything():
    region = "^bb0(%a: f32, %b: f32, %o: f32):\nlinalg.yield %a : f32"
    maps = "(i, k) -> (i + k); (i, k) -> (k); (i, k) -> (i)"
    whole = generic(maps, "pr", "ins(%x, %w : tensor<8xf32>, tensor<1xf32>)", region, "tensor<8xf32>")
    assert rule(whole, "%x: tensor<8xf32>, %w: tensor<1xf32>").operands[0] == ((0,),)
    partly = generic(maps, "pr", "ins(%x, %w : tensor<9xf32>, tensor<1xf32>)", region, "tensor<8xf32>")
    found = rule(partly, "%x: tensor<9xf32>, %w: tensor<1xf32>")
    assert found.factors[0].windows == (Window(0, 0, 9, 8),)


TABLE = "^bb0(%a: i64, %o: f32):\n%r = arith.index_cast %a : i64 to index\n%j = linalg.index {loop} : index\n%x = tensor.extract %t[{reads}] : tensor<8x8xf32>\n{tail}"  # noqa: E501


@pytest.mark.parametrize(
    ("reads", "tail", "table"),
    [
        ("%r, %j", "linalg.yield %x : f32", ["indexed", "parallel"]),
        ("%r, %r", "linalg.yield %x : f32", ["indexed", "indexed"]),
        ("%j, %j", "linalg.yield %x : f32", ["blocked", "blocked"]),
        ("%r, %j", "%y = arith.addf %x, %x : f32\nlinalg.yield %y : f32", ["blocked", "parallel"]),
    ],
)
def test_tables(reads, tail, table):
    region = TABLE.format(loop=1, reads=reads, tail=tail)
    body = generic("(i, j) -> (i); (i, j) -> (i, j)", "pp", "ins(%n : tensor<4xi64>)", region, "tensor<4x8xf32>")
    found = rule(body, "%n: tensor<4xi64>, %t: tensor<8x8xf32>")
    assert [found.factors[factor].kind for (factor,) in found.operands[-1]] == table


def test_scalar_operands_are_not_tensors_of_the_rule():
    region = "^bb0(%a: f32, %s: f32, %o: f32):\n%c = arith.mulf %a, %s : f32\nlinalg.yield %c : f32"
    body = generic(
        "(i) -> (i); (i) -> (); (i) -> (i)", "p", "ins(%x, %f : tensor<4xf32>, f32)", region, "tensor<4xf32>"
    )
    found = rule(body, "%x: tensor<4xf32>, %f: f32")
    assert found.operands == (((0,),), ((0,),))
    assert found.results == (((0,),),)


def test_a_slice_that_drops_dimensions():
    body = "%y = tensor.extract_slice %x[0, 1, 0] [4, 1, 6] [1, 1, 1] : tensor<4x3x6xf32> to tensor<4x6xf32>"
    found = rule(body, "%x: tensor<4x3x6xf32>")
    assert [factor.kind for factor in found.factors] == ["parallel", "blocked", "parallel"]
    assert found.results == (((0,), (2,)),)


def test_a_pad_that_looks_at_its_position_is_whole():
    body = """%y = tensor.pad %x low[0] high[0] {
^bb0(%i: index):
%c = arith.index_cast %i : index to i32
%f = arith.sitofp %c : i32 to f32
tensor.yield %f : f32
} : tensor<4xf32> to tensor<4xf32>"""
    assert rule(body, "%x: tensor<4xf32>").factors[0].kind is FactorKind.BLOCKED


def test_a_region_with_control_flow_is_whole():
    region = """^bb0(%a: f32, %o: f32):
%z = arith.constant 0.0 : f32
%p = arith.cmpf olt, %a, %z : f32
%v = scf.if %p -> f32 {
scf.yield %z : f32
} else {
scf.yield %a : f32
}
linalg.yield %v : f32"""
    body = generic("(i) -> (i); (i) -> (i)", "p", "ins(%x : tensor<4xf32>)", region, "tensor<4xf32>")
    found = rule(body, "%x: tensor<4xf32>")
    assert found.factors[0].kind is FactorKind.BLOCKED
    assert "control flow" in found.reason


SCATTER = """%y = tm_tensor.scatter {{dimension_map = array<i64: {dims}>}} unique_indices(false)
ins(%u, %i : {updates}, {indices}) outs(%t : tensor<8x4xf32>) {{
^bb0(%new: f32, %old: f32):
{region}
tm_tensor.yield %s : f32
}} -> tensor<8x4xf32>"""


def scatter(region: str, updates: str = "tensor<6x4xf32>", indices: str = "tensor<6x1xi32>", dims: str = "0"):
    body = SCATTER.format(region=region, updates=updates, indices=indices, dims=dims)
    return rule(body, f"%u: {updates}, %i: {indices}, %t: tensor<8x4xf32>")


def test_a_scatter_that_adds():
    found = scatter("%s = arith.addf %old, %new : f32")
    assert [factor.kind for factor in found.factors] == ["reduction", "indexed", "parallel"]
    assert found.results == (((1,), (2,)),)


@pytest.mark.parametrize(
    "region",
    [
        "%s = arith.subf %old, %new : f32",
        "%s = arith.addf %old, %old : f32",
        "%m = arith.mulf %new, %new : f32\n%s = arith.addf %old, %m : f32",
    ],
)
def test_a_scatter_that_does_anything_else_is_whole(region):
    found = scatter(region)
    assert {factor.kind for factor in found.factors} == {FactorKind.BLOCKED}
    assert "combine" in found.reason


def test_a_scatter_of_single_elements_is_whole():
    found = scatter("%s = arith.addf %old, %new : f32", "tensor<6xf32>", "tensor<6x2xi32>", "0, 1")
    assert "several dimensions" in found.reason
