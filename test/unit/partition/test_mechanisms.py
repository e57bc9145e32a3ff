"""Each mechanism of partition on a small function: the collectives that it emits, and the result on all devices."""

from __future__ import annotations

from collections import Counter

import pytest
from torch_mlir import ir

from jogak.ir.module import main_function
from jogak.sharding.mesh import Mesh
from jogak.testing.differential import case_of, check_case, mechanisms, partitioned

MATMUL = """
#a = affine_map<(i, j, k) -> (i, k)>
#b = affine_map<(i, j, k) -> (k, j)>
#c = affine_map<(i, j, k) -> (i, j)>
"""
DOT = 'indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "reduction"]'
DOT_REGION = """{
  ^bb0(%l: f32, %r: f32, %o: f32):
    %m = arith.mulf %l, %r : f32
    %s = arith.addf %o, %m : f32
    linalg.yield %s : f32
  }"""
ROW_SUM = """
#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>
"""


def reduction(op: str, element: str, init: str, constraint: str = "[_, model]") -> str:
    """A reduction of `%x` over its second dimension."""
    return f"""{ROW_SUM}
func.func @main(%x: tensor<4x4096x{element}> {{jogak.constraint = "{constraint}"}}, %i: tensor<4x{element}>) -> tensor<4x{element}> {{
  {init}
  %y = linalg.generic {{indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]}} ins(%x : tensor<4x4096x{element}>) outs(%init : tensor<4x{element}>) {{
  ^bb0(%a: {element}, %o: {element}):
    %c = arith.{op} %o, %a : {element}
    linalg.yield %c : {element}
  }} -> tensor<4x{element}>
  return %y : tensor<4x{element}>
}}"""  # noqa: E501


def splat(text: str, element: str) -> str:
    return f"%init = arith.constant dense<{text}> : tensor<4x{element}>"


ARGUMENT = "%init = tensor.extract_slice %i[0] [4] [1] : tensor<4xf32> to tensor<4xf32>"

CASES: dict[str, tuple[str, str, dict[str, int]]] = {
    "megatron": (
        "data=2,model=2",
        f"""{MATMUL}
func.func @main(%x: tensor<8x4xf32> {{jogak.constraint = "[data, _]"}}, %u: tensor<4x16xf32> {{jogak.constraint = "[_, model]"}}, %d: tensor<16x4xf32> {{jogak.constraint = "[model, _]"}}) -> tensor<8x4xf32> {{
  %z1 = arith.constant dense<0.0> : tensor<8x16xf32>
  %z2 = arith.constant dense<0.0> : tensor<8x4xf32>
  %h = linalg.generic {{{DOT}}} ins(%x, %u : tensor<8x4xf32>, tensor<4x16xf32>) outs(%z1 : tensor<8x16xf32>) {DOT_REGION} -> tensor<8x16xf32>
  %y = linalg.generic {{{DOT}}} ins(%h, %d : tensor<8x16xf32>, tensor<16x4xf32>) outs(%z2 : tensor<8x4xf32>) {DOT_REGION} -> tensor<8x4xf32>
  return %y : tensor<8x4xf32>
}}""",  # noqa: E501
        {"all_reduce": 1},
    ),
    "reduce_scatter": (
        "model=2",
        f"""{MATMUL}
func.func @main(%x: tensor<8x4xf32> {{jogak.constraint = "[_, model]"}}, %w: tensor<4x8xf32> {{jogak.constraint = "[model, _]"}}) -> tensor<8x8xf32> {{
  %z = arith.constant dense<0.0> : tensor<8x8xf32>
  %y = linalg.generic {{{DOT}}} ins(%x, %w : tensor<8x4xf32>, tensor<4x8xf32>) outs(%z : tensor<8x8xf32>) attrs = {{jogak.constraint = "[model, _]"}} {DOT_REGION} -> tensor<8x8xf32>
  return %y : tensor<8x8xf32>
}}""",  # noqa: E501
        {"reduce_scatter": 1},
    ),
    "sum": ("model=4", reduction("addf", "f32", splat("0.0", "f32")), {"all_reduce": 1}),
    "sum of a start that is no identity": ("model=4", reduction("addf", "f32", splat("1.5", "f32")), {"all_reduce": 1}),
    "sum of a start that is a value": ("model=4", reduction("addf", "f32", ARGUMENT), {"all_reduce": 1}),
    "product of a start that is no identity": (
        "model=4",
        reduction("mulf", "f32", splat("1.5", "f32")),
        {"all_reduce": 1},
    ),
    "maximum of a start that wins": ("model=4", reduction("maximumf", "f32", splat("2.5", "f32")), {"all_reduce": 1}),
    "integers": ("model=4", reduction("minsi", "i32", splat("1", "i32")), {"all_reduce": 1}),
    "unsigned maxima are not split": ("model=4", reduction("maxui", "i32", splat("0", "i32")), {"all_gather": 1}),
    "booleans, or": ("model=4", reduction("maxui", "i1", splat("false", "i1")), {"all_reduce": 1}),
    "booleans, and": ("model=4", reduction("muli", "i1", splat("true", "i1")), {"all_reduce": 1}),
    "booleans, exclusive or is not split": ("model=4", reduction("addi", "i1", splat("true", "i1")), {"all_gather": 1}),
    "two axes, one all-reduce": (
        "data=2,model=2",
        reduction("addf", "f32", splat("1.0", "f32"), "[_, model data]"),
        {"all_reduce": 1},
    ),
    "an axis of size 1 moves nothing": (
        "data=1,model=2",
        reduction("addf", "f32", splat("1.0", "f32"), "[model, data]"),
        {},
    ),
    "all_to_all": (
        "a=2",
        """
func.func @main(%x: tensor<4x4xf32> {jogak.constraint = "[a, _]"}) -> tensor<4x4xf32> {
  %e = tensor.empty() : tensor<4x4xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<4x4xf32>) outs(%e : tensor<4x4xf32>) attrs = {jogak.constraint = "[_, a]"} {
  ^bb0(%in: f32, %o: f32):
    linalg.yield %in : f32
  } -> tensor<4x4xf32>
  return %y : tensor<4x4xf32>
}""",  # noqa: E501
        {"all_to_all": 1},
    ),
    "an updated argument keeps its sharding and its other use": (
        "a=2",
        """
func.func @main(%w: tensor<65536xf32> {jogak.constraint = "[a]"}, %g: tensor<65536xf32> {jogak.constraint = "[_]"}) -> (tensor<65536xf32> {jogak.updates = 0 : i64}, tensor<65536xf32>, tensor<65536xf32>) {
  %e = tensor.empty() : tensor<65536xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]} ins(%w, %g : tensor<65536xf32>, tensor<65536xf32>) outs(%e : tensor<65536xf32>) attrs = {jogak.constraint = "[_]"} {
  ^bb0(%p, %q: f32, %o: f32):
    %s = arith.subf %p, %q : f32
    linalg.yield %s : f32
  } -> tensor<65536xf32>
  return %y, %y, %w : tensor<65536xf32>, tensor<65536xf32>, tensor<65536xf32>
}""".replace("%p, %q: f32", "%p: f32, %q: f32"),  # noqa: E501
        {"all_gather": 1, "all_slice": 1},
    ),
    "arguments, constants and free values as results": (
        "a=2",
        """
func.func @main(%x: tensor<4xf32> {jogak.constraint = "[a]"}) -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32> {jogak.updates = 0 : i64}) {
  %s = arith.constant dense<2.0> : tensor<4xf32>
  %t = arith.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
  return %x, %s, %t, %x, %t : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>
}""",  # noqa: E501
        {"all_slice": 1},
    ),
    "a gather of split rows and split columns by split indices": (
        "a=2,b=2,c=2",
        """
func.func @main(%i: tensor<6xi64> {jogak.constraint = "[c]"}, %t: tensor<8192x64xf32> {jogak.constraint = "[a, b]"}) -> tensor<6x64xf32> {
  %e = tensor.empty() : tensor<6x64xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i)>, affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]} ins(%i : tensor<6xi64>) outs(%e : tensor<6x64xf32>) {
  ^bb0(%in: i64, %o: f32):
    %eight = arith.constant 8192 : i64
    %r = arith.remui %in, %eight : i64
    %row = arith.index_cast %r : i64 to index
    %col = linalg.index 1 : index
    %x = tensor.extract %t[%row, %col] : tensor<8192x64xf32>
    linalg.yield %x : f32
  } -> tensor<6x64xf32>
  return %y : tensor<6x64xf32>
}""",  # noqa: E501
        {"all_reduce": 1},
    ),
    "a scatter of split updates into split rows": (
        "a=2,b=2",
        """
func.func @main(%u: tensor<6x4xf32> {jogak.constraint = "[b, _]"}, %i: tensor<6x1xi64> {jogak.constraint = "[b, _]"}, %t: tensor<8x4xf32> {jogak.constraint = "[a, _]"}) -> tensor<8x4xf32> {
  %e = tensor.empty() : tensor<6x1xi32>
  %r = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]} ins(%i : tensor<6x1xi64>) outs(%e : tensor<6x1xi32>) {
  ^bb0(%in: i64, %o: i32):
    %eight = arith.constant 8 : i64
    %m = arith.remui %in, %eight : i64
    %n = arith.trunci %m : i64 to i32
    linalg.yield %n : i32
  } -> tensor<6x1xi32>
  %y = tm_tensor.scatter {dimension_map = array<i64: 0>} unique_indices(false) ins(%u, %r : tensor<6x4xf32>, tensor<6x1xi32>) outs(%t : tensor<8x4xf32>) {
  ^bb0(%new: f32, %old: f32):
    %s = arith.addf %old, %new : f32
    tm_tensor.yield %s : f32
  } -> tensor<8x4xf32>
  return %y : tensor<8x4xf32>
}""",  # noqa: E501
        {"all_reduce": 1},
    ),
    "a reshape of factors that the axes fill": (
        "a=2,b=2,c=2",
        """
func.func @main(%x: tensor<16x3xf32> {jogak.constraint = "[a b c, _]"}) -> tensor<4x4x3xf32> {
  %y = tensor.expand_shape %x [[0, 1], [2]] output_shape [4, 4, 3] : tensor<16x3xf32> into tensor<4x4x3xf32>
  return %y : tensor<4x4x3xf32>
}""",
        {},
    ),
    "slices, pads and concatenations of other dimensions": (
        "a=2",
        """
func.func @main(%x: tensor<4x6xf32> {jogak.constraint = "[a, _]"}) -> tensor<4x12xf32> {
  %z = arith.constant 0.5 : f32
  %s = tensor.extract_slice %x[0, 1] [4, 4] [1, 1] : tensor<4x6xf32> to tensor<4x4xf32>
  %p = tensor.pad %s low[0, 1] high[0, 1] {
  ^bb0(%i: index, %j: index):
    tensor.yield %z : f32
  } : tensor<4x4xf32> to tensor<4x6xf32>
  %q = tensor.insert_slice %s into %p[0, 0] [4, 4] [1, 1] : tensor<4x4xf32> into tensor<4x6xf32>
  %c = tensor.concat dim(1) %p, %q : (tensor<4x6xf32>, tensor<4x6xf32>) -> tensor<4x12xf32>
  return %c : tensor<4x12xf32>
}""",
        {},
    ),
    "a window over a slice of a constant": (
        "a=2",
        """
func.func @main(%w: tensor<2xf32>) -> tensor<4x3xf32> {
  %t = arith.constant dense<[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [9.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]> : tensor<4x4xf32>
  %z = arith.constant dense<0.0> : tensor<4x3xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(n, i, k) -> (n, i + k)>, affine_map<(n, i, k) -> (k)>, affine_map<(n, i, k) -> (n, i)>], iterator_types = ["parallel", "parallel", "reduction"]} ins(%t, %w : tensor<4x4xf32>, tensor<2xf32>) outs(%z : tensor<4x3xf32>) attrs = {jogak.constraint = "[a, _]"} {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %m = arith.mulf %p, %q : f32
    %s = arith.addf %o, %m : f32
    linalg.yield %s : f32
  } -> tensor<4x3xf32>
  return %y : tensor<4x3xf32>
}""",  # noqa: E501
        {"all_slice": 1},
    ),
    "an op without a rule works on whole tensors": (
        "a=2",
        """
func.func @main(%x: tensor<4xf32> {jogak.constraint = "[a]"}) -> tensor<4xf32> {
  %y = tensor.cast %x : tensor<4xf32> to tensor<4xf32>
  return %y : tensor<4xf32>
}""",
        {"all_gather": 1},
    ),
    "a scalar argument": (
        "a=2",
        """
func.func @main(%x: tensor<4xf32> {jogak.constraint = "[a]"}) -> (tensor<4xf32>, tensor<2x4xf32>) {
  %zero = arith.constant 0 : index
  %e = tensor.empty() : tensor<4xf32>
  %e2 = tensor.empty() : tensor<2x4xf32>
  %first = tensor.extract %x[%zero] : tensor<4xf32>
  %f = linalg.fill ins(%first : f32) outs(%e2 : tensor<2x4xf32>) -> tensor<2x4xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> ()>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]} ins(%x, %first : tensor<4xf32>, f32) outs(%e : tensor<4xf32>) {
  ^bb0(%in: f32, %s: f32, %o: f32):
    %m = arith.mulf %in, %s : f32
    linalg.yield %m : f32
  } -> tensor<4xf32>
  return %y, %f : tensor<4xf32>, tensor<2x4xf32>
}""",  # noqa: E501
        {"all_gather": 1},
    ),
}


def device_ops(module: ir.Module) -> list[ir.Operation]:
    return [view.operation for view in main_function(module).operation.regions[0].blocks[0].operations]


@pytest.mark.parametrize("name", CASES)
def test_mechanism(name):
    mesh, program, expected = CASES[name]
    case = case_of(program, Mesh.parse(mesh))
    mismatch = check_case(case)
    names = [op.name for op in device_ops(partitioned(case))]
    found = Counter(each.removeprefix("shard.") for each in names if each.startswith("shard."))
    found.pop("process_multi_index", None)
    assert mismatch is None
    assert dict(found) == expected


@pytest.mark.parametrize("name", CASES)
def test_no_attribute_of_ours_is_left_on_an_op(name):
    mesh, program, _ = CASES[name]
    module = partitioned(case_of(program, Mesh.parse(mesh)))
    for op in device_ops(module):
        assert not set(op.attributes) & {"jogak.sharding", "jogak.constraint"}


@pytest.mark.parametrize("mesh", [Mesh(("x", "y"), (2, 2)), Mesh(("x", "y"), (2, 3)), Mesh(("x", "y"), (4, 2))])
def test_pieces_change_places(mesh: Mesh) -> None:
    """Nothing is gathered, also where the sizes of the axes differ and the dimension has to be padded."""
    text = """
#id = affine_map<(i, j) -> (i, j)>
func.func @main(%x: tensor<46x4xf32> {jogak.constraint = "[x y, _]"}) -> (tensor<46x4xf32> {jogak.constraint = "[y x, _]"}) {
  %e = tensor.empty() : tensor<46x4xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<46x4xf32>) outs(%e : tensor<46x4xf32>) attrs = {jogak.constraint = "[x y, _]"} {
  ^bb0(%a: f32, %o: f32):
    %s = arith.addf %a, %a : f32
    linalg.yield %s : f32
  } -> tensor<46x4xf32>
  return %y : tensor<46x4xf32>
}"""  # noqa: E501
    case = case_of(text, mesh)
    assert mechanisms(partitioned(case)) == {"permute", "permute by several axes"}
    assert check_case(case) is None
