"""The graph of a program: ops of one fingerprint are analysed once, and nothing is lost by it."""

from random import Random

import pytest

from jogak.ir.context import new_context, parse_module
from jogak.ir.fingerprint import fingerprint
from jogak.ir.module import main_function
from jogak.sharding.reading import analysis_of, read_graph
from jogak.sharding.rules import tensor_operands
from jogak.testing.random_ops import random_program


@pytest.mark.parametrize("seed", range(30))
def test_every_node_is_as_if_it_were_alone(seed):
    program = random_program(Random(seed), 12)
    module = parse_module(program, new_context())
    function = main_function(module).operation
    reading = read_graph(function, {})
    assert reading.graph.nodes
    for node, op in zip(reading.graph.nodes, reading.ops, strict=True):
        alone = analysis_of(op, {})
        assert (node.rule, node.flops, node.arithmetic, node.view) == (
            alone.rule, alone.flops, alone.arithmetic, alone.view,
        )  # fmt: skip
        assert reading.analyses[node.index] == alone
        assert list(reading.read[node.index]) == tensor_operands(op)
        assert node.operands == tuple(reading.values.get(value) for value in tensor_operands(op))
        assert node.sums in (alone.linear.sums, ())
        assert node.through in (alone.linear.through, ())


OUTER = """
#id = affine_map<(d0, d1) -> (d0, d1)>
func.func @main(%a: tensor<4x4xf32>, %b: tensor<4x4xf32>, %n: i64, %i: tensor<4x4xi64>) -> tensor<4x4xf32> {{
  %two = arith.constant 2 : i64
  %e = tensor.empty() : tensor<4x4xf32>
  %r = linalg.generic {{indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}}
      ins(%i : tensor<4x4xi64>) outs(%e : tensor<4x4xf32>) {{
  ^bb0(%in: i64, %out: f32):
    {region}
    linalg.yield %y : f32
  }} -> tensor<4x4xf32>
  return %r : tensor<4x4xf32>
}}
"""
READ = """%x = linalg.index {0} : index
    %z = linalg.index 1 : index
    %u = tensor.extract %{1}[%x, %z] : tensor<4x4xf32>
    %v = tensor.extract %{2}[%z, %x] : tensor<4x4xf32>
    %y = arith.addf %u, %v : f32"""
DIVIDED = """%q = arith.divsi %in, %{0} : i64
    %y = arith.sitofp %q : i64 to f32"""


def key_of(region):
    module = parse_module(OUTER.format(region=region), new_context())
    function = main_function(module).operation
    op = next(view.operation for view in function.regions[0].blocks[0].operations if view.name == "linalg.generic")
    found = fingerprint(op)
    assert found is not None
    return str(found.key), len(found.captured)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (READ.format(0, "a", "a"), READ.format(0, "a", "b")),
        (READ.format(0, "a", "a"), READ.format(1, "a", "a")),
        (DIVIDED.format("two"), DIVIDED.format("n")),
        (DIVIDED.format("two"), DIVIDED.format("two").replace("divsi", "remsi")),
    ],
)
def test_what_makes_a_difference_is_in_the_fingerprint(one, other):
    assert key_of(one) == key_of(one)
    assert key_of(one) != key_of(other)


def test_control_flow_has_no_fingerprint():
    branch = """%c = arith.cmpi eq, %in, %two : i64
    %f = arith.sitofp %in : i64 to f32
    %y = scf.if %c -> f32 { scf.yield %f : f32 } else { scf.yield %f : f32 }"""
    module = parse_module(OUTER.format(region=branch), new_context())
    function = main_function(module).operation
    ops = [view.operation for view in function.regions[0].blocks[0].operations]
    assert [fingerprint(op) for op in ops if op.name == "linalg.generic"] == [None]


SLICES = """
func.func @main(%a: tensor<8x8xf32>, %n: index) -> tensor<4x8xf32> {
  %0 = tensor.extract_slice %a[0, 0] [4, 8] [1, 1] {jogak.constraint = "[_, _]"} : tensor<8x8xf32> to tensor<4x8xf32>
  %1 = tensor.extract_slice %a[0, 0] [4, 8] [1, 1] : tensor<8x8xf32> to tensor<4x8xf32>
  %2 = tensor.extract_slice %a[4, 0] [4, 8] [1, 1] : tensor<8x8xf32> to tensor<4x8xf32>
  %3 = tensor.extract_slice %a[%n, 0] [4, 8] [1, 1] : tensor<8x8xf32> to tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}
"""


def test_slices_are_alike_where_all_but_requests_is_equal():
    module = parse_module(SLICES, new_context())
    reading = read_graph(main_function(module).operation, {})
    first, same, further, dynamic = reading.analyses
    assert first is same
    assert len({first, further, dynamic}) == 3
    assert reading.graph.nodes[2].rule == further.rule
