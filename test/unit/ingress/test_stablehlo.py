"""StableHLO with Shardy's annotations: what becomes a constraint, and what is refused."""

from __future__ import annotations

import pytest

from jogak.errors import JogakError
from jogak.ingress.stablehlo import is_stablehlo, read_stablehlo
from jogak.ir.context import new_context
from jogak.ir.diagnostics import collect
from jogak.ir.module import main_function
from jogak.ir.pass_manager import run_pipeline
from jogak.sharding.mesh import Mesh
from jogak.testing.differential import Case, check_case

EXPORTED = """
module @jit_f attributes {mhlo.num_partitions = 8 : i32, mhlo.num_replicas = 1 : i32} {
  sdy.mesh @mesh = <["x"=4, "y"=2]>
  func.func public @main(%arg0: tensor<8x16xf32> {sdy.sharding = #sdy.sharding<@mesh, [{"x", ?}, {}]>}, %arg1: tensor<16x32xf32> {sdy.sharding = #sdy.sharding<@mesh, [{}, {"y"}], replicated={"x"}>}) -> (tensor<8x32xf32> {jax.result_info = "result", sdy.sharding = #sdy.sharding<@mesh, [{"x"}, {}]>}) {
    %0 = stablehlo.dot_general %arg0, %arg1, contracting_dims = [1] x [0] : (tensor<8x16xf32>, tensor<16x32xf32>) -> tensor<8x32xf32>
    %1 = sdy.sharding_constraint %0 <@mesh, [{?}, {"y"}]> : tensor<8x32xf32>
    %2 = call @tail(%1) : (tensor<8x32xf32>) -> tensor<8x32xf32>
    return %2 : tensor<8x32xf32>
  }
  func.func private @tail(%arg0: tensor<8x32xf32>) -> tensor<8x32xf32> {
    %0 = stablehlo.exponential %arg0 : tensor<8x32xf32>
    return %0 : tensor<8x32xf32>
  }
}
"""  # noqa: E501


def test_annotations_become_constraints():
    module, mesh = read_stablehlo(EXPORTED, new_context(), "model.mlir")
    assert mesh == Mesh(("x", "y"), (4, 2))
    text = str(module)
    assert 'tensor<8x16xf32> {jogak.constraint = "[x ?, _]"}' in text
    assert 'tensor<16x32xf32> {jogak.constraint = "[_, y] replicated(x)"}' in text
    assert 'jogak.constraint = "[x, _]"' in text
    assert 'jogak.constraint = "[?, y]"' in text
    assert "stablehlo" not in text
    assert "sdy" not in text


def test_the_program_does_the_same_on_its_mesh():
    module, mesh = read_stablehlo(EXPORTED, new_context(), "model.mlir")
    whole, _ = read_stablehlo(EXPORTED, new_context(), "model.mlir")
    assert mesh is not None
    text = str(module).replace(
        "func.func public", 'shard.grid @mesh(shape = 4x2) {jogak.axes = ["x", "y"]}\nfunc.func public'
    )
    assert check_case(Case(str(whole), text, mesh, 0)) is None


def test_a_concatenation_stays_one():
    text = """
func.func @main(%a: tensor<4x2xf32>, %b: tensor<4x3xf32>) -> tensor<4x5xf32> {
  %0 = stablehlo.concatenate %a, %b, dim = 1 : (tensor<4x2xf32>, tensor<4x3xf32>) -> tensor<4x5xf32>
  return %0 : tensor<4x5xf32>
}"""
    module, mesh = read_stablehlo(text, new_context(), "model.mlir")
    assert mesh is None
    ops = [view.operation.name for view in main_function(module).operation.regions[0].blocks[0].operations]
    assert ops == ["tensor.concat", "func.return"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sdy.sharding_constraint %0 <@mesh", "sdy.propagation_barrier %0 <@mesh", "sdy.propagation_barrier cannot"),
        (
            '  sdy.mesh @mesh = <["x"=4, "y"=2]>',
            '  sdy.mesh @a = <["x"=4]>\n  sdy.mesh @b = <["x"=2]>',
            "several meshes",
        ),
        ("%1 = sdy.sharding_constraint %0", "%1 = sdy.sharding_constraint %0 oops", "sdy.sharding_constraint cannot"),
        ('"y"=2]>', '"y"=2], device_ids=[7, 6, 5, 4, 3, 2, 1, 0]>', "are in the order 7, 6"),
    ],
)
def test_what_cannot_be_taken_over_says_so(old, new, message):
    with pytest.raises(JogakError, match=message):
        read_stablehlo(EXPORTED.replace(old, new), new_context(), "model.mlir")


def test_every_constraint_of_a_value_is_kept_and_every_priority():
    one, other = '[{"x"}p1, {"y", ?}]', '[{?}, {?}], replicated={"x"}'
    line = next(line for line in EXPORTED.splitlines() if "sdy.sharding_constraint" in line)
    twice = EXPORTED.replace(
        line, "\n".join([line.replace('[{?}, {"y"}]', one), line.replace('[{?}, {"y"}]', other).replace("%1", "%9")])
    )
    text = str(read_stablehlo(twice, new_context(), "model.mlir")[0])
    assert 'jogak.constraint = ["[?, y ?]", "[x, ?] p1", "[?, ?] replicated(x)"]' in text


def test_what_is_left_out_is_said():
    per_value = "{sdy.sharding = #sdy.sharding_per_value<[<@mesh, [{}, {}]>]>}"
    noted = EXPORTED.replace("contracting_dims = [1] x [0] :", f"contracting_dims = [1] x [0] {per_value} :")
    with collect() as told:
        read_stablehlo(noted, new_context(), "model.mlir")
    (remark,) = told.items
    assert "sharding_per_value" in remark.message
    assert (remark.location.file, remark.location.line) == ("model.mlir", 5)


def test_what_is_stablehlo():
    assert is_stablehlo(EXPORTED)
    assert not is_stablehlo('func.func @main() {\n  return loc("stablehlo.py":1:1)\n}')
    assert not is_stablehlo("func.func @main(%a: tensor<4xf32>) -> tensor<4xf32> {\n  return %a : tensor<4xf32>\n}")


def test_a_choice_for_each_element_stays_whole_and_is_reported():
    """A generic that reads tensors inside of a condition: no rule, no crash."""
    text = """
shard.grid @mesh(shape = 2) {jogak.axes = ["x"]}
func.func @main(%a: tensor<4xf32> {jogak.constraint = "[x]"}, %b: tensor<4xf32>) -> tensor<4xf32> {
  %c2 = arith.constant 2 : index
  %e = tensor.empty() : tensor<4xf32>
  %0 = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>], iterator_types = ["parallel"]} outs(%e : tensor<4xf32>) {
  ^bb0(%o: f32):
    %i = linalg.index 0 : index
    %s = arith.cmpi ult, %i, %c2 : index
    %v = scf.if %s -> (f32) {
      %x = tensor.extract %a[%i] : tensor<4xf32>
      scf.yield %x : f32
    } else {
      %x = tensor.extract %b[%i] : tensor<4xf32>
      scf.yield %x : f32
    }
    linalg.yield %v : f32
  } -> tensor<4xf32>
  return %0 : tensor<4xf32>
}"""  # noqa: E501
    from jogak.ir.context import parse_module

    module = parse_module(text, new_context())
    run_pipeline(module, "builtin.module(jogak-propagate,jogak-partition)")
    assert "shard.all_gather" in str(module)
