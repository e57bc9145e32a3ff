"""What IREE is taken to allocate for each op."""

from __future__ import annotations

import pytest

from jogak.ir.context import new_context, parse_module
from jogak.ir.module import main_function
from jogak.memory.reading import read_tape
from jogak.targets.iree.fusion import allocated, in_registers

_ROWS, _ALL = "affine_map<(d0, d1) -> (d0)>", "affine_map<(d0, d1) -> (d0, d1)>"


def elementwise(result: str, operand: str, op: str) -> str:
    """An op that makes `result` of two times `operand`."""
    return f"""
  %{result} = linalg.generic {{indexing_maps = [{_ALL}, {_ALL}], iterator_types = ["parallel", "parallel"]}}
      ins(%{operand} : tensor<8x64xf32>) outs(%e : tensor<8x64xf32>) {{
  ^bb0(%in: f32, %out: f32):
    %0 = arith.{op} %in, %in : f32
    linalg.yield %0 : f32
  }} -> tensor<8x64xf32>"""


PROGRAM = f"""
func.func @main(%x: tensor<8x64xf32>) -> (tensor<8x64xf32>, tensor<8x64xf32>) {{
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<8x64xf32>
  %r = tensor.empty() : tensor<8xf32>
  %start = linalg.fill ins(%zero : f32) outs(%r : tensor<8xf32>) -> tensor<8xf32>
  {elementwise("double", "x", "addf")}
  {elementwise("square", "double", "mulf")}
  %sums = linalg.generic {{indexing_maps = [{_ALL}, {_ROWS}], iterator_types = ["parallel", "reduction"]}}
      ins(%square : tensor<8x64xf32>) outs(%start : tensor<8xf32>) {{
  ^bb0(%in: f32, %out: f32):
    %0 = arith.addf %in, %out : f32
    linalg.yield %0 : f32
  }} -> tensor<8xf32>
  %scaled = linalg.generic {{indexing_maps = [{_ALL}, {_ROWS}, {_ALL}], iterator_types = ["parallel", "parallel"]}}
      ins(%square, %sums : tensor<8x64xf32>, tensor<8xf32>) outs(%e : tensor<8x64xf32>) {{
  ^bb0(%in: f32, %sum: f32, %out: f32):
    %0 = arith.divf %in, %sum : f32
    linalg.yield %0 : f32
  }} -> tensor<8x64xf32>
  return %scaled, %x : tensor<8x64xf32>, tensor<8x64xf32>
}}
"""


def test_results_are_never_written_over_operands_but_may_stay_in_registers() -> None:
    module = parse_module(PROGRAM, new_context())
    ops = read_tape(main_function(module).operation).ops
    double, square, sums, scaled = ops
    assert in_registers(double, square) == double.results[0]
    assert in_registers(square, sums) is None  # a reduction reads it
    assert in_registers(sums, scaled) == sums.results[0]
    # `square` takes the place that `double` never has; `scaled` does not lie over `square`
    assert dict(allocated(ops)) == {double: 2048, sums: 64, scaled: 2048}


@pytest.mark.parametrize("reader", ["%x, %scaled", "%scaled, %double"])
def test_a_value_that_others_read_is_in_memory(reader: str) -> None:
    text = PROGRAM.replace("return %scaled, %x", f"return {reader}")
    module = parse_module(text, new_context())
    double, square = read_tape(main_function(module).operation).ops[:2]
    assert (in_registers(double, square) is None) == ("%double" in reader)
