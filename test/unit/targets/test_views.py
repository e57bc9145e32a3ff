"""Views that would keep more memory alive than the plan has become copies, and only those."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch_mlir import ir

from jogak.ir.context import new_context
from jogak.runtime.arena import ArenaPlan
from jogak.runtime.program import KernelStep, Program, load_program
from jogak.runtime.spec import LinalgSpec
from jogak.runtime.types import TensorType
from jogak.sharding.mesh import Mesh
from jogak.targets.distributed.schedule import Memory, peak
from jogak.targets.torch.program import write_program
from jogak.targets.torch.scratch import memory_of, of_kernel
from jogak.targets.torch.views import WORTH, copied
from jogak.testing.steps import Unit

BUCKET, PART = 8 * WORTH, 2 * WORTH
STEPS = [Unit((0,), (1,)), Unit((1,), (2,)), Unit((2,), (3,)), Unit((0,), (4,)), Unit((4, 3), (5,))]
"""1 is a bucket, 2 a slice of it, 3 the slice seen otherwise; 4 comes when both 1 and 2 are no longer needed."""
SIZES = {0: 1, 1: BUCKET, 2: PART, 3: PART, 4: BUCKET, 5: 1}


def memory(planned: int | None, shared: frozenset[int] = frozenset([2, 3])) -> Memory:
    allocated = dict.fromkeys(shared, 0)
    return Memory(SIZES, allocated, shared, planned)


def test_the_view_that_lives_on_is_copied() -> None:
    assert peak(STEPS, [5], memory(None)) > BUCKET + PART + 1
    assert copied(STEPS, [5], memory(BUCKET + PART + 1)) == {3}


def test_a_program_within_its_plan_copies_nothing() -> None:
    assert copied(STEPS, [5], memory(2 * BUCKET + 1)) == frozenset()
    assert copied(STEPS, [5], memory(None)) == frozenset()


def test_what_no_copy_helps_ends() -> None:
    assert copied(STEPS, [5], memory(1)) == {3}


def _computed(name: str, op: str) -> str:
    """A tensor that is the argument with itself, element by element."""
    return f"""
  %{name}_to = tensor.empty() : tensor<4x65536xf32>
  %{name} = linalg.generic {{indexing_maps = [#all, #all], iterator_types = ["parallel", "parallel"]}}
      ins(%x : tensor<4x65536xf32>) outs(%{name}_to : tensor<4x65536xf32>) {{
  ^bb0(%in: f32, %out: f32):
    %0 = {op} %in, %in : f32
    linalg.yield %0 : f32
  }} -> tensor<4x65536xf32>"""


_SLICES = f"""
#all = affine_map<(d0, d1) -> (d0, d1)>
func.func @main(%x: tensor<4x65536xf32>) -> tensor<512x256xf32> {{
{_computed("bucket", "arith.mulf")}
  %part = tensor.extract_slice %bucket[0, 128] [4, 32768] [1, 1] : tensor<4x65536xf32> to tensor<4x32768xf32>
  %joined = tensor.collapse_shape %part [[0, 1]] : tensor<4x32768xf32> into tensor<131072xf32>
  %seen = tensor.expand_shape %joined [[0, 1]] output_shape [512, 256]
      : tensor<131072xf32> into tensor<512x256xf32>
  return %seen : tensor<512x256xf32>
}}
"""


def _shape(step: KernelStep) -> tuple[int, ...]:
    return () if isinstance(step.spec, LinalgSpec) else step.spec.results[0].shape


def _joining(program: Program) -> KernelStep:
    """The step that joins the rows of a slice."""
    slice_, joining = (
        next(each for each in program.steps if isinstance(each, KernelStep) and _shape(each) == shape)
        for shape in ((4, 32768), (131072,))
    )
    assert slice_.results == joining.operands
    return joining


def test_joining_the_rows_of_a_slice_takes_new_memory() -> None:
    with new_context() as context, ir.Location.unknown(context):
        program = load_program(ir.Module.parse(_SLICES))
    step = _joining(program)
    shared = memory_of(program).shared
    assert step.operands[0] in shared
    assert step.results[0] not in shared
    alone, within = (
        of_kernel(step.spec, (TensorType((4, 32768), "f32"),), frozenset(), strides) for strides in ((), ((65536, 1),))
    )
    assert alone is not None
    assert within is not None
    assert (alone.kept, within.kept) == (0, 131072 * 4)


_KEPT = f"""
#all = affine_map<(d0, d1) -> (d0, d1)>
func.func @main(%x: tensor<4x65536xf32>) -> (tensor<4x256xf32>, tensor<4x65536xf32>) {{
{_computed("bucket", "arith.mulf")}
  %part = tensor.extract_slice %bucket[0, 128] [4, 256] [1, 1] : tensor<4x65536xf32> to tensor<4x256xf32>
{_computed("other", "arith.addf")}
  return %part, %other : tensor<4x256xf32>, tensor<4x65536xf32>
}}
"""


def test_a_written_program_copies_the_slice_and_computes_the_same() -> None:
    with new_context() as context, ir.Location.unknown(context):
        program = load_program(ir.Module.parse(_KEPT))
    program = replace(program, arena=ArenaPlan(2 * 4 * 65536 * 4 + 4096, {}))
    text, _ = write_program(program, Mesh.parse("x=1"), None, "a slice")
    assert text.count(".clone()") == 1
    module: dict[str, object] = {}
    exec(compile(text, "device.py", "exec"), module)
    given = torch.rand(4, 65536)
    part, other = module["main"]([given.clone()], {}, None)  # type: ignore[operator]
    assert torch.equal(part, (given * given)[:, 128:384])
    assert torch.equal(other, given + given)
    assert part.untyped_storage().nbytes() == part.numel() * 4
