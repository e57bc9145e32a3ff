"""What PyTorch allocates in a kernel, predicted without data, against its allocator; and orders that respect it."""

from __future__ import annotations

from itertools import accumulate

import torch
from torch.profiler import ProfilerActivity, profile
from torch_mlir import ir

from jogak.ir.context import new_context
from jogak.runtime.kernels.build import build
from jogak.runtime.program import Collective, CollectiveStep, KernelStep, load_program
from jogak.runtime.types import TensorType
from jogak.targets.distributed.schedule import Memory, overlap
from jogak.targets.torch.kernels import prepared
from jogak.targets.torch.scratch import of_kernel
from jogak.testing.steps import Unit

_SOFTMAX = """
#row = affine_map<(d0, d1) -> (d0)>
#all = affine_map<(d0, d1) -> (d0, d1)>
func.func @main(%x: tensor<64x512xf32>, %m: tensor<64xf32>, %g: tensor<64x512xf32>) -> tensor<64xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<64xf32>
  %init = linalg.fill ins(%zero : f32) outs(%e : tensor<64xf32>) -> tensor<64xf32>
  %s = linalg.generic {indexing_maps = [#all, #row, #all, #row], iterator_types = ["parallel", "reduction"]}
      ins(%x, %m, %g : tensor<64x512xf32>, tensor<64xf32>, tensor<64x512xf32>) outs(%init : tensor<64xf32>) {
  ^bb0(%in: f32, %most: f32, %other: f32, %out: f32):
    %0 = arith.subf %in, %most : f32
    %1 = math.exp %0 : f32
    %2 = math.tanh %other : f32
    %3 = arith.divf %1, %2 : f32
    %4 = arith.addf %out, %3 : f32
    linalg.yield %4 : f32
  } -> tensor<64xf32>
  return %s : tensor<64xf32>
}
"""


def test_a_kernel_takes_what_was_predicted() -> None:
    with new_context() as context, ir.Location.unknown(context):
        program = load_program(ir.Module.parse(_SOFTMAX))
    (step,) = (each for each in program.steps if isinstance(each, KernelStep))
    types = tuple(argument.type for argument in program.arguments)
    taken = of_kernel(step.spec, types, frozenset())
    assert taken is not None
    assert taken.owned
    assert taken.kept == 64 * 4
    kernel = torch.fx.GraphModule(build(step.spec), prepared(build(step.spec), types, None)[0])
    given = [torch.rand(each.shape) for each in types]
    with torch.no_grad():
        kernel(*given)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
            kernel(*given)
    events = list(run.profiler.kineto_results.events())
    changes = sorted((each.start_ns(), each.nbytes()) for each in events if each.name() == "[memory]")
    assert max(accumulate(bytes_ for _, bytes_ in changes)) == taken.most


def _steps() -> list[object]:
    """A reduction of 0 that 2 waits for, then work on 5 that needs nothing of it."""
    type_ = TensorType((8,), "f32")
    reduce = CollectiveStep(Collective("all_reduce", ("x",), reduction="sum"), (1,), (2,), type_, type_, "")
    return [Unit((0,), (1,)), reduce, Unit((2,), (3,)), Unit((0,), (4,)), Unit((4, 3), (5,))]


def test_steps_go_first_only_where_memory_allows_it() -> None:
    steps = _steps()
    waits_late = overlap(steps, [5])  # type: ignore[type-var]
    assert [step.results[0] for step in waits_late] == [1, 2, 4, 3, 5]
    sizes = dict.fromkeys(range(6), 8)
    enough = Memory(sizes, {}, frozenset())
    assert [step.results[0] for step in overlap(steps, [5], enough)] == [1, 2, 4, 3, 5]  # type: ignore[type-var]
    scarce = Memory(sizes | {4: 64}, {3: 100}, frozenset())
    assert [step.results[0] for step in overlap(steps, [5], scarce)] == [1, 2, 3, 4, 5]  # type: ignore[type-var]
