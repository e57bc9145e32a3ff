"""Products with an exchange matrix become reversed reads; others stay."""

from __future__ import annotations

import pytest
import torch
from torch_mlir import ir

from jogak.ir.context import new_context
from jogak.runtime.kernels.build import build
from jogak.runtime.liveness import plan
from jogak.runtime.program import KernelStep, Program, load_program
from jogak.runtime.reversal import with_reversals
from jogak.runtime.simulator import ONE_DEVICE, simulate

PROGRAM = """
module {
  func.func @main(%w: tensor<4x5x3x2xf32> {jogak.name = "w"}) -> (tensor<5x4x3x2xf32> {jogak.name = "y"}) {
    %zero = arith.constant 0.0 : f32
    %e = tensor.empty() : tensor<3x2x3x2xf32>
    %m = linalg.generic {indexing_maps = [affine_map<(a, b, c, d) -> (a, b, c, d)>],
                         iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      outs(%e : tensor<3x2x3x2xf32>) {
    ^bb0(%o: f32):
      %a = linalg.index 0 : index
      %b = linalg.index 1 : index
      %c = linalg.index 2 : index
      %d = linalg.index 3 : index
      %two = arith.constant LAST : index
      %one = arith.constant 1 : index
      %ac = arith.addi %a, %c : index
      %bd = arith.addi %b, %d : index
      %p = arith.cmpi eq, %ac, %two : index
      %q = arith.cmpi eq, %bd, %one : index
      %r = arith.andi %p, %q : i1
      %f = arith.uitofp %r : i1 to f32
      linalg.yield %f : f32
    } -> tensor<3x2x3x2xf32>
    %u = tensor.empty() : tensor<5x4x3x2xf32>
    %z = linalg.fill ins(%zero : f32) outs(%u : tensor<5x4x3x2xf32>) -> tensor<5x4x3x2xf32>
    %y = linalg.generic {indexing_maps = [affine_map<(i, j, c, d, a, b) -> (j, i, a, b)>,
                                          affine_map<(i, j, c, d, a, b) -> (a, b, c, d)>,
                                          affine_map<(i, j, c, d, a, b) -> (i, j, c, d)>],
        iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction"]}
      ins(%w, %m : tensor<4x5x3x2xf32>, tensor<3x2x3x2xf32>) outs(%z : tensor<5x4x3x2xf32>) {
    ^bb0(%x: f32, %k: f32, %s: f32):
      %t = arith.mulf %x, %k : f32
      %v = arith.addf %s, %t : f32
      linalg.yield %v : f32
    } -> tensor<5x4x3x2xf32>
    return %y : tensor<5x4x3x2xf32>
  }
}
"""


def programs(last: int) -> tuple[Program, Program]:
    program = load_program(ir.Module.parse(PROGRAM.replace("LAST", str(last)), new_context()))
    steps = plan(with_reversals(program.steps), [result.value for result in program.results])
    return program, Program(program.arguments, program.results, steps, program.values)


def test_the_exchange_matrix_is_a_reversed_read() -> None:
    program, changed = programs(2)
    (step,) = changed.steps
    assert isinstance(step, KernelStep)
    assert step.operands == (program.arguments[0].value,)
    w = torch.randn(4, 5, 3, 2)
    (found,) = simulate(changed, ONE_DEVICE, [{"w": w}]).outputs[0]
    assert torch.equal(found, w.flip(2, 3).transpose(0, 1))
    (expected,) = simulate(program, ONE_DEVICE, [{"w": w}]).outputs[0]
    assert torch.equal(found, expected)


def test_another_matrix_stays_a_product() -> None:
    program, changed = programs(1)
    assert [each.operands for each in changed.steps] == [each.operands for each in program.steps]


FILTER = """
    %s0 = tensor.empty() : tensor<2x5xHEIGHTx6xf32>
    %s1 = linalg.fill ins(%zero : f32) outs(%s0 : tensor<2x5xHEIGHTx6xf32>) -> tensor<2x5xHEIGHTx6xf32>
    %c = linalg.generic {indexing_maps = [affine_map<(n, f, h, w, c, a, b) -> (n, c, h * STRIDE + a * 2, w + b)>,
                                          affine_map<(n, f, h, w, c, a, b) -> (f, c, a, b)>,
                                          affine_map<(n, f, h, w, c, a, b) -> (n, f, h, w)>],
        iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]}
      ins(%data, %y : tensor<2x4x9x7xf32>, tensor<5x4x3x2xf32>) outs(%s1 : tensor<2x5xHEIGHTx6xf32>) {
    ^bb0(%p0: f32, %p1: f32, %p2: f32):
      %m0 = arith.mulf %p0, %p1 : f32
      %m1 = arith.addf %p2, %m0 : f32
      linalg.yield %m1 : f32
    } -> tensor<2x5xHEIGHTx6xf32>
    return %c : tensor<2x5xHEIGHTx6xf32>"""


@pytest.mark.parametrize(("stride", "height"), [(1, 5), (2, 3)])
def test_a_filter_is_read_backwards_where_it_slides(stride: int, height: int) -> None:
    text = PROGRAM.replace("LAST", "2").replace(
        '-> (tensor<5x4x3x2xf32> {jogak.name = "y"})', '-> (tensor<2x5xHEIGHTx6xf32> {jogak.name = "c"})'
    )
    text = text.replace("(%w:", '(%data: tensor<2x4x9x7xf32> {jogak.name = "x"}, %w:')
    text = text.replace("    return %y : tensor<5x4x3x2xf32>", FILTER)
    text = text.replace("HEIGHT", str(height)).replace("STRIDE", str(stride))
    program = load_program(ir.Module.parse(text, new_context()))
    steps = plan(with_reversals(program.steps), [result.value for result in program.results])
    step = steps[-1]
    assert isinstance(step, KernelStep)
    assert len(steps) == stride  # steps of more than one element are no transposed convolution
    assert ("conv_transpose2d" in build(step.spec).code) == (stride == 1)
    given = [{"x": torch.randn(2, 4, 9, 7), "w": torch.randn(4, 5, 3, 2)}]
    changed = Program(program.arguments, program.results, steps, program.values)
    (found,), (expected,) = (simulate(each, ONE_DEVICE, given).outputs[0] for each in (changed, program))
    torch.testing.assert_close(found, expected)
