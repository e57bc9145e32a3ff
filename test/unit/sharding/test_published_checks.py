"""Checks S1 to S6 of propagation and resharding, after the documentation and tests of Shardy (openxla/shardy).

S7, every kind of op on the mesh against the whole op, is `test/unit/partition/test_every_sharding.py`.
"""

from __future__ import annotations

from collections import Counter

import pytest

from jogak.cost.machine_file import load_machine
from jogak.cost.model import Roofline
from jogak.ir.context import new_context, parse_module
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.sharding.graph import Graph
from jogak.sharding.mesh import Mesh
from jogak.sharding.propagation import propagate
from jogak.sharding.reshard import route
from jogak.sharding.rule import Factor, OpShardingRule
from jogak.sharding.sharding import Combiner, Sharding
from jogak.sharding.steps import StepKind
from jogak.testing.differential import case_of, check_case, partitioned
from jogak.testing.graphs import GraphBuilder, seed

DOT = """
#l = affine_map<(i, j, k) -> (i, k)>
#r = affine_map<(i, j, k) -> (k, j)>
#o = affine_map<(i, j, k) -> (i, j)>
func.func @main(%x: tensor<64x256xf32> {{jogak.constraint = "{lhs}"}}, %w: tensor<256x32xf32> {{jogak.constraint = "{rhs}"}}) -> tensor<64x32xf32> {{
  %z = arith.constant dense<0.0> : tensor<64x32xf32>
  %y = linalg.generic {{indexing_maps = [#l, #r, #o], iterator_types = ["parallel", "parallel", "reduction"]}} ins(%x, %w : tensor<64x256xf32>, tensor<256x32xf32>) outs(%z : tensor<64x32xf32>) attrs = {{jogak.constraint = "{out}"}} {{
  ^bb0(%a: f32, %b: f32, %c: f32):
    %m = arith.mulf %a, %b : f32
    %s = arith.addf %c, %m : f32
    linalg.yield %s : f32
  }} -> tensor<64x32xf32>
  return %y : tensor<64x32xf32>
}}"""  # noqa: E501


def run(graph: Graph, mesh: Mesh, *seeds, agreed: bool = False) -> list[str]:
    return [str(sharding) for sharding in propagate(graph, mesh, seeds, agreed=agreed).shardings]


def collectives(program: str, mesh: Mesh) -> list[tuple[str, str, tuple[int, ...]]]:
    """Kind, axes and local shape of what comes out, in program order; the devices together must be right."""
    case = case_of(program, mesh)
    assert check_case(case) is None
    found = []
    module = partitioned(case)
    for view in main_function(module).operation.regions[0].blocks[0].operations:
        op = view.operation
        if "grid_axes" in op.attributes and op.name.startswith("shard."):
            axes = " ".join(mesh.axes[int(number)] for number in op.attributes["grid_axes"])
            found.append((op.name.removeprefix("shard."), axes, tuple(op.results[0].type.shape)))
    return found


def reshape(coarse: int, *fine: int) -> OpShardingRule:
    members = tuple(range(len(fine)))
    return OpShardingRule(tuple(map(Factor, fine)), ((members,),), (tuple((m,) for m in members),))


def test_s1_a_reshape_splits_the_axes_over_its_dimensions_without_a_collective():
    b = GraphBuilder()
    x = b.argument(8)
    b.op(reshape(8, 2, 4), [x], 2, 4)
    mesh = Mesh(("x1", "x2"), (2, 2))
    assert run(b.graph, mesh, seed(x, "[x1 x2]")) == ["[x1 x2]", "[x1, x2]"]
    program = """
func.func @main(%x: tensor<8xf32> {jogak.constraint = "[x1 x2]"}) -> tensor<2x4xf32> {
  %y = tensor.expand_shape %x [[0, 1]] output_shape [2, 4] : tensor<8xf32> into tensor<2x4xf32>
  return %y : tensor<2x4xf32>
}"""
    assert collectives(program, mesh) == []


def test_s1_one_axis_is_taken_apart():
    """`x` of four devices over 8 elements that become 2 × 4: {"x":(1)2} and {"x":(2)2}, and nothing moves."""
    program = """
func.func @main(%x: tensor<8xf32> {jogak.constraint = "[x]"}) -> tensor<2x4xf32> {
  %y = tensor.expand_shape %x [[0, 1]] output_shape [2, 4] : tensor<8xf32> into tensor<2x4xf32>
  return %y : tensor<2x4xf32>
}"""
    mesh = Mesh(("x",), (4,))
    assert collectives(program, mesh) == []
    module = parse_module(case_of(program, mesh).annotated, new_context())
    run_pipeline(module, "builtin.module(jogak-propagate)")
    assert 'jogak.sharding = ["[x:(1)2, x:(2)2]"]' in str(module)


def test_s2_one_gather_by_two_axes():
    mesh = Mesh(("x", "y", "z"), (2, 2, 2))
    cost = Roofline(load_machine("a100-80g"), mesh)
    way = route(Sharding((("x", "y", "z"), ())), Sharding((("x",), ())), (16, 8), 4, mesh, cost)
    assert [(step.kind, step.axes, step.dim) for step in way.steps] == [(StepKind.ALL_GATHER, ("y", "z"), 0)]


@pytest.mark.parametrize(
    ("out", "expected"),
    [("[_, _]", ("all_reduce", "y", (64, 32))), ("[y, _]", ("reduce_scatter", "y", (32, 32)))],
)
def test_s2_a_split_contraction_is_one_reduction(out, expected):
    program = DOT.format(lhs="[_, y]", rhs="[y, _]", out=out)
    assert collectives(program, Mesh(("x", "y"), (2, 2))) == [expected]


def test_s2_a_partial_sum_that_is_wanted_split_is_scattered():
    mesh = Mesh(("x", "y"), (2, 2))
    source = Sharding(((), ())).with_partial({"y": Combiner.ADD})
    way = route(source, Sharding((("y",), ())), (16, 8), 4, mesh, Roofline(load_machine("a100-80g"), mesh))
    assert [step.kind for step in way.steps] == [StepKind.REDUCE_SCATTER]


def test_s3_only_the_right_operand_of_a_product_moves():
    """Of [{x},{y}] · [{y},{x}] -> [{x},{}] the right operand comes to [{y},{}]; y is summed behind."""
    program = DOT.format(lhs="[x, y]", rhs="[y, x]", out="[x, _]")
    found = collectives(program, Mesh(("x", "y"), (4, 2)))
    assert found == [("all_gather", "x", (128, 32)), ("all_reduce", "y", (16, 32))]


def three_tensors() -> Graph:
    """Two matrices and a third tensor over factors F0, F1, F2, as in the documentation of Shardy's propagation."""
    b = GraphBuilder()
    t0, t1, t2 = b.argument(8, 8, 8), b.argument(8, 8, 8), b.argument(8, 8, 8)
    return b.returns(b.op("xyz, xyz, xyz -> xyz", [t0, t1, t2], 8, 8, 8))


LETTERS = Mesh(tuple("abcdefg"), (2,) * 7)
GIVEN = [seed(0, "[a ?, ?, f ?]"), seed(1, "[a b ?, c d ?, g ?]"), seed(2, "[?, c e ?, ?]")]


def test_s4_what_the_tensors_agree_on_goes_to_all_of_them():
    assert run(three_tensors(), LETTERS, *GIVEN, agreed=True) == [
        "[a b, c, f]",
        "[a b, c d, g]",
        "[a b, c e, _]",
        "[a b, c, _]",
    ]


def test_s4_where_they_disagree_the_larger_tensor_wins_by_default():
    found = run(three_tensors(), LETTERS, *GIVEN)
    assert found[:3] == ["[a b, c d, f]", "[a b, c d, g]", "[a b, c e, f]"]
    assert found[3] == "[a b, c d, f]"


def test_s5_a_constant_has_a_sharding_for_each_use():
    program = """
#id = affine_map<(i, j) -> (i, j)>
func.func @main(%x: tensor<4x4xf32> {jogak.constraint = "[a, _]"}, %y: tensor<4x4xf32> {jogak.constraint = "[b, _]"}) -> (tensor<4x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) {
  %c = arith.constant dense<3.0> : tensor<4x4xf32>
  %e = tensor.empty() : tensor<4x4xf32>
  %0 = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%x, %c : tensor<4x4xf32>, tensor<4x4xf32>) outs(%e : tensor<4x4xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %s = arith.addf %p, %q : f32
    linalg.yield %s : f32
  } -> tensor<4x4xf32>
  %1 = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%y, %c : tensor<4x4xf32>, tensor<4x4xf32>) outs(%e : tensor<4x4xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %s = arith.addf %p, %q : f32
    linalg.yield %s : f32
  } -> tensor<4x4xf32>
  return %0, %1, %c : tensor<4x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>
}"""  # noqa: E501
    mesh = Mesh(("a", "b"), (2, 4))
    case = case_of(program, mesh)
    assert collectives(program, mesh) == []
    module = partitioned(case)
    ops = [view.operation for view in main_function(module).operation.regions[0].blocks[0].operations]
    shapes = Counter(tuple(op.results[0].type.shape) for op in ops if op.name == "arith.constant")
    assert shapes == {(4, 4): 1, (2, 4): 1, (1, 4): 1}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("[c, ?] p0", "[a ?, ?] p1", "[c, _]"), ("[c, ?] p1", "[a ?, ?] p0", "[a, _]")],
)
def test_s6_priorities_come_before_everything(first, second, expected):
    """Two adds and a division: who asks first is followed."""
    b = GraphBuilder()
    x, y = b.argument(8, 8), b.argument(8, 8)
    s = b.op("ij, ij -> ij", [x, y], 8, 8)
    t = b.op("ij, ij -> ij", [s, s], 8, 8)
    u = b.op("ij, ij -> ij", [t, x], 8, 8)
    found = run(b.returns(u), LETTERS, seed(x, first), seed(y, second))
    assert (found[s], found[t], found[u]) == (expected, expected, expected)


def test_s6_closed_dimensions_gain_no_axis():
    b = GraphBuilder()
    x, y, z = b.argument(8, 8), b.argument(8, 8), b.argument(8, 8)
    u = b.op("ij, ij, ij -> ij", [x, y, z], 8, 8)
    found = run(b.returns(u), LETTERS, seed(x, "[a b ?, c]"), seed(y, "[a, _]"), seed(z, "[?, _]"))
    assert found == ["[a b, c]", "[a, _]", "[a b, _]", "[a b, c]"]
