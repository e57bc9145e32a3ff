"""What a target takes beside the values of a program, in the memory model."""

from __future__ import annotations

from torch_mlir import ir

from jogak.ir.context import new_context
from jogak.ir.module import main_function
from jogak.memory.attributes import ARENA, SCRATCH, SCRATCH_OFFSET
from jogak.memory.offsets import plan_memory
from jogak.memory.reading import read_tape
from jogak.memory.scratch import annotate_scratch
from jogak.memory.tape import lay_out

_TEXT = """
func.func @main(%x: tensor<16xf32>) -> tensor<64xf32> {
  %a = tensor.concat dim(0) %x, %x : (tensor<16xf32>, tensor<16xf32>) -> tensor<32xf32>
  %b = tensor.concat dim(0) %a, %a : (tensor<32xf32>, tensor<32xf32>) -> tensor<64xf32>
  return %b : tensor<64xf32>
}
"""


def test_scratch_lives_while_its_op_runs_and_has_a_place_in_the_arena() -> None:
    with new_context() as context, ir.Location.unknown(context):
        module = ir.Module.parse(_TEXT)
        function = main_function(module).operation
        first, second = (view.operation for view in list(function.regions[0].blocks[0].operations)[:2])
        assert lay_out(read_tape(function).tape).live == [64 + 128, 64 + 128 + 256]
        annotate_scratch(function, {first: 128 + 1000, second: 256})
        assert SCRATCH not in second.attributes
        assert ir.IntegerAttr(first.attributes[SCRATCH]).value == 1000
        assert lay_out(read_tape(function).tape).live == [64 + 128 + 1024, 64 + 128 + 256]
        plan_memory(function)
        offset = ir.IntegerAttr(first.attributes[SCRATCH_OFFSET]).value
        assert offset >= 64 + 128 or offset == 64
        assert ir.IntegerAttr(function.attributes[ARENA]).value == 64 + 128 + 1024
        annotate_scratch(function, {})
        assert SCRATCH not in first.attributes
