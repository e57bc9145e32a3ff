"""Check S7: every kind of op gives the same on the mesh as whole, for every sharding of each of its operands.

The list of ops is that of the executable tests of Shardy (openxla/shardy). All operands are sharded independently of
each other, with sizes that the mesh does not divide among them.
"""

from __future__ import annotations

from math import prod

import pytest

from jogak.autoshard.strategies import placements
from jogak.ir.context import new_context, parse_module
from jogak.ir.module import main_function
from jogak.ir.structured import shape_of
from jogak.sharding.mesh import Mesh
from jogak.testing.differential import case_of, check_case

MESH = Mesh(("x", "y"), (2, 2))


def generic(maps: str, kinds: str, ins: str, types: str, out: str, result: str, body: str) -> str:
    """One linalg.generic; `kinds` is a letter for each loop, p or r."""
    loops = ", ".join(f"d{n}" for n in range(len(kinds)))
    written = ", ".join(f"affine_map<({loops}) -> ({each.strip()})>" for each in maps.split(";"))
    names = ", ".join('"parallel"' if kind == "p" else '"reduction"' for kind in kinds)
    given = f"ins({ins} : {types})" if ins else ""
    return (
        f"linalg.generic {{indexing_maps = [{written}], iterator_types = [{names}]}} {given} "
        f"outs({out} : {result}) {{\n{body}\n}} -> {result}"
    )


def mac(element: str = "f32") -> str:
    return (
        f"^bb0(%a: {element}, %b: {element}, %o: {element}):\n  %m = arith.mulf %a, %b : {element}\n"
        f"  %s = arith.addf %o, %m : {element}\n  linalg.yield %s : {element}"
    )


def binary(maps: str, kinds: str, left: str, right: str, result: str) -> str:
    """A sum of products of `%x` and `%w`."""
    made = generic(maps, kinds, "%x, %w", f"{left}, {right}", "%z", result, mac())
    return (
        f"func.func @main(%x: {left}, %w: {right}) -> {result} {{\n"
        f"  %z = arith.constant dense<0.0> : {result}\n  %y = {made}\n  return %y : {result}\n}}"
    )


def unary(text: str, argument: str, result: str) -> str:
    return f"func.func @main(%x: {argument}) -> {result} {{\n  {text}\n  return %y : {result}\n}}"


REVERSE = """%e = tensor.empty() : tensor<6x4xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]} outs(%e : tensor<6x4xf32>) {
  ^bb0(%o: f32):
    %c = arith.constant 5 : index
    %i = linalg.index 0 : index
    %j = linalg.index 1 : index
    %k = arith.subi %c, %i : index
    %v = tensor.extract %x[%k, %j] : tensor<6x4xf32>
    linalg.yield %v : f32
  } -> tensor<6x4xf32>"""  # noqa: E501

FOURIER = """%e = tensor.empty() : tensor<6x4x2xf32>
  %t = linalg.generic {indexing_maps = [affine_map<(n, k, c) -> (n, k, c)>], iterator_types = ["parallel", "parallel", "parallel"]} outs(%e : tensor<6x4x2xf32>) {
  ^bb0(%o: f32):
    %n = linalg.index 0 : index
    %k = linalg.index 1 : index
    %p = linalg.index 2 : index
    %nk = arith.muli %n, %k : index
    %nk64 = arith.index_cast %nk : index to i64
    %f = arith.sitofp %nk64 : i64 to f32
    %w = arith.constant 1.0471975511965976 : f32
    %angle = arith.mulf %f, %w : f32
    %re = math.cos %angle : f32
    %im = math.sin %angle : f32
    %zero = arith.constant 0 : index
    %first = arith.cmpi eq, %p, %zero : index
    %v = arith.select %first, %re, %im : f32
    linalg.yield %v : f32
  } -> tensor<6x4x2xf32>
  %z = arith.constant dense<0.0> : tensor<3x4x2xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(b, k, c, n) -> (b, n)>, affine_map<(b, k, c, n) -> (n, k, c)>, affine_map<(b, k, c, n) -> (b, k, c)>], iterator_types = ["parallel", "parallel", "parallel", "reduction"]} ins(%x, %t : tensor<3x6xf32>, tensor<6x4x2xf32>) outs(%z : tensor<3x4x2xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %m = arith.mulf %a, %b : f32
    %s = arith.addf %o, %m : f32
    linalg.yield %s : f32
  } -> tensor<3x4x2xf32>"""  # noqa: E501

GATHER = """
func.func @main(%x: tensor<6x4xf32>, %i: tensor<5xi64>) -> tensor<5x4xf32> {
  %e = tensor.empty() : tensor<5x4xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i)>, affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]} ins(%i : tensor<5xi64>) outs(%e : tensor<5x4xf32>) {
  ^bb0(%in: i64, %o: f32):
    %six = arith.constant 6 : i64
    %r = arith.remui %in, %six : i64
    %row = arith.index_cast %r : i64 to index
    %col = linalg.index 1 : index
    %v = tensor.extract %x[%row, %col] : tensor<6x4xf32>
    linalg.yield %v : f32
  } -> tensor<5x4xf32>
  return %y : tensor<5x4xf32>
}"""  # noqa: E501

SCATTER = """
func.func @main(%u: tensor<6x4xf32>, %i: tensor<6x1xi64>, %t: tensor<7x4xf32>) -> tensor<7x4xf32> {
  %e = tensor.empty() : tensor<6x1xi32>
  %r = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]} ins(%i : tensor<6x1xi64>) outs(%e : tensor<6x1xi32>) {
  ^bb0(%in: i64, %o: i32):
    %seven = arith.constant 7 : i64
    %m = arith.remui %in, %seven : i64
    %n = arith.trunci %m : i64 to i32
    linalg.yield %n : i32
  } -> tensor<6x1xi32>
  %y = tm_tensor.scatter {dimension_map = array<i64: 0>} unique_indices(false) ins(%u, %r : tensor<6x4xf32>, tensor<6x1xi32>) outs(%t : tensor<7x4xf32>) {
  ^bb0(%new: f32, %old: f32):
    %s = arith.addf %old, %new : f32
    tm_tensor.yield %s : f32
  } -> tensor<7x4xf32>
  return %y : tensor<7x4xf32>
}"""  # noqa: E501

SORT = """
func.func @main(%x: tensor<6x4xi64>, %p: tensor<6x4xi64>) -> (tensor<6x4xi64>, tensor<6x4xi64>) {
  %y:2 = tm_tensor.sort dimension(0) outs(%x, %p : tensor<6x4xi64>, tensor<6x4xi64>) {
  ^bb0(%a: i64, %b: i64, %c: i64, %d: i64):
    %z = arith.cmpi sle, %a, %b : i64
    tm_tensor.yield %z : i1
  } -> tensor<6x4xi64>, tensor<6x4xi64>
  return %y#0, %y#1 : tensor<6x4xi64>, tensor<6x4xi64>
}"""

PAD = """%c = arith.constant 0.5 : f32
  %y = tensor.pad %x low[1, 0] high[2, 1] {
  ^bb0(%i: index, %j: index):
    tensor.yield %c : f32
  } : tensor<5x4xf32> to tensor<8x5xf32>"""

PROGRAMS = {
    "dot 3x3 3x5, contraction padded to 4": binary(
        "d0, d2; d2, d1; d0, d1", "ppr", "tensor<3x3xf32>", "tensor<3x5xf32>", "tensor<3x5xf32>"
    ),
    "dot with a batch": binary(
        "d0, d1, d3; d0, d3, d2; d0, d1, d2", "pppr", "tensor<2x3x4xf32>", "tensor<2x4x3xf32>", "tensor<2x3x3xf32>"
    ),
    "convolution": binary(
        "d0, d1 + d4, d2 + d5, d6; d4, d5, d6, d3; d0, d1, d2, d3",
        "pppprrr",
        "tensor<2x6x5x3xf32>",
        "tensor<3x2x3x4xf32>",
        "tensor<2x4x4x4xf32>",
    ),
    "convolution with a stride": binary(
        "d0, d1 * 2 + d3, d4; d3, d4, d2; d0, d1, d2",
        "ppprr",
        "tensor<2x9x2xf32>",
        "tensor<3x2x2xf32>",
        "tensor<2x4x2xf32>",
    ),
    "convolution in feature groups": binary(
        "d0, d1 + d4, d2, d5; d4, d2, d5, d3; d0, d1, d2, d3",
        "pppprr",
        "tensor<2x5x4x2xf32>",
        "tensor<2x4x2x3xf32>",
        "tensor<2x4x4x3xf32>",
    ),
    "pad": unary(PAD, "tensor<5x4xf32>", "tensor<8x5xf32>"),
    "slice": unary(
        "%y = tensor.extract_slice %x[1, 0] [4, 2] [1, 2] : tensor<6x4xf32> to tensor<4x2xf32>",
        "tensor<6x4xf32>",
        "tensor<4x2xf32>",
    ),
    "reverse": unary(REVERSE, "tensor<6x4xf32>", "tensor<6x4xf32>"),
    "gather": GATHER,
    "scatter": SCATTER,
    "sort": SORT,
    "fft as a product with its table": unary(FOURIER, "tensor<3x6xf32>", "tensor<3x4x2xf32>"),
    "reshape": unary(
        "%y = tensor.collapse_shape %x [[0, 1], [2]] : tensor<2x4x3xf32> into tensor<8x3xf32>",
        "tensor<2x4x3xf32>",
        "tensor<8x3xf32>",
    ),
    "concatenate": (
        "func.func @main(%x: tensor<5x4xf32>, %w: tensor<3x4xf32>) -> tensor<8x4xf32> {\n"
        "  %y = tensor.concat dim(0) %x, %w : (tensor<5x4xf32>, tensor<3x4xf32>) -> tensor<8x4xf32>\n"
        "  return %y : tensor<8x4xf32>\n}"
    ),
    "dynamic update": (
        "func.func @main(%x: tensor<5x4xf32>, %w: tensor<3x4xf32>) -> tensor<5x4xf32> {\n"
        "  %y = tensor.insert_slice %w into %x[1, 0] [3, 4] [1, 1] : tensor<3x4xf32> into tensor<5x4xf32>\n"
        "  return %y : tensor<5x4xf32>\n}"
    ),
}


def constrained(program: str, specs: list[str]) -> str:
    """The program with a constraint on each argument."""
    head, rest = program.split(") -> ", 1)
    before, given = head.split("(", 1)
    arguments = [
        f'{each} {{jogak.constraint = "{spec}"}}' for each, spec in zip(given.split(", %"), specs, strict=True)
    ]
    return f"{before}({', %'.join(arguments)}) -> {rest}"


def every_sharding(program: str, most: int) -> list[list[str]]:
    """Combinations of shardings of the operands: all of them, or `most` spread evenly over all."""
    module = parse_module(program, new_context())
    block = main_function(module).operation.regions[0].blocks[0]
    options = [[str(each) for each in placements(shape_of(argument), MESH)] for argument in block.arguments]
    every = prod(map(len, options))
    picks = range(every) if every <= most else sorted({each * every // most for each in range(most)})
    return [_combination(options, pick) for pick in picks]


def _combination(options: list[list[str]], number: int) -> list[str]:
    chosen = []
    for each in options:
        number, at = divmod(number, len(each))
        chosen.append(each[at])
    return chosen


@pytest.mark.parametrize("name", PROGRAMS)
def test_s7_every_sharding_of_the_operands_gives_the_whole_result(name):
    for specs in every_sharding(PROGRAMS[name], 8):
        check(PROGRAMS[name], specs)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_s7_all_of_them(name):
    for specs in every_sharding(PROGRAMS[name], 150):
        check(PROGRAMS[name], specs)


def check(program: str, specs: list[str]) -> None:
    mismatch = check_case(case_of(constrained(program, specs), MESH))
    assert mismatch is None, f"{mismatch} with {specs}"
