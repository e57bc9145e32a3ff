"""Reading a module: names, roles, dead steps and the lifetime of values."""

from __future__ import annotations

from typing import Any

import pytest

from jogak.errors import JogakError
from jogak.runtime.program import KernelStep, Result
from jogak.runtime.types import TensorType

TEXT = """func.func @main(
    %w: tensor<2x3xf32> {jogak.name = "layer.weight", jogak.role = "parameter"},
    %x: tensor<2x3xf32> {jogak.name = "x", jogak.role = "input"}
  ) -> (
    tensor<2x3xf32> {jogak.name = "layer.weight", jogak.role = "update", jogak.updates = 0 : i64}, tensor<2x3xf32>
  ) {
  %a = arith.addf %w, %x : tensor<2x3xf32>
  %unused = arith.mulf %a, %x : tensor<2x3xf32>
  %b = arith.mulf %a, %a : tensor<2x3xf32>
  %c = arith.subf %b, %w : tensor<2x3xf32>
  return %c, %x : tensor<2x3xf32>, tensor<2x3xf32>
}"""


def test_names_and_roles(load: Any) -> None:
    program = load(TEXT)
    type_ = TensorType((2, 3), "f32")
    assert [(each.name, each.role) for each in program.arguments] == [("layer.weight", "parameter"), ("x", "input")]
    assert program.results[0] == Result("layer.weight", "update", type_, program.results[0].value, 0)
    assert (program.results[1].name, program.results[1].role, program.results[1].updates) == ("result1", "output", None)
    assert type_.bytes == 24


def test_values_die_after_their_last_use_and_dead_steps_are_dropped(load: Any) -> None:
    program = load(TEXT)
    w, x = (argument.value for argument in program.arguments)
    add, square, subtract = program.steps
    assert [step.spec.name for step in program.steps] == ["arith.addf", "arith.mulf", "arith.subf"]
    assert add.frees == ()
    assert square.frees == add.results
    assert set(subtract.frees) == {*square.results, w}
    assert x == program.results[1].value


def test_locations_name_the_source(load: Any) -> None:
    body = TEXT.replace("%a = arith.addf %w, %x : tensor<2x3xf32>",
                        '%a = arith.addf %w, %x : tensor<2x3xf32> loc("model.py":7:3)')  # fmt: skip
    assert load(body).steps[0].location == "model.py:7"


def test_constants_become_part_of_the_kernels_that_read_them(load: Any) -> None:
    program = load("""func.func @main(%x: tensor<3xf32>) -> tensor<3xf32> {
      %k = arith.constant 2.0 : f32
      %e = tensor.empty() : tensor<3xf32>
      %y = linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>],
          iterator_types = ["parallel"]} ins(%x : tensor<3xf32>) outs(%e : tensor<3xf32>) {
      ^bb0(%a: f32, %o: f32):
        %r = arith.mulf %a, %k : f32
        linalg.yield %r : f32
      } -> tensor<3xf32>
      return %y : tensor<3xf32>
    }""")
    (step,) = program.steps
    assert isinstance(step, KernelStep)
    assert step.operands == (program.arguments[0].value,)


@pytest.mark.parametrize(("text", "message"), [
    ("func.func @other() { return }", "no function @main"),
    ("func.func @main(%x: tensor<?xf32>) -> tensor<?xf32> { return %x : tensor<?xf32> }", "static shape"),
    ("shard.grid @a(shape = 2)\nshard.grid @b(shape = 2)\nfunc.func @main() { return }", r"second shard\.grid"),
])  # fmt: skip
def test_programs_that_cannot_run(load: Any, text: str, message: str) -> None:
    with pytest.raises(JogakError, match=message):
        load(text)
