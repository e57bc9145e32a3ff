"""The generated program of one device, run in this process: a mesh of one device needs no process group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing import start_processes

from jogak.ir.context import new_context
from jogak.runtime.kernels.build import build
from jogak.runtime.program import CollectiveStep, load_program
from jogak.runtime.simulator import execute as simulate_whole
from jogak.runtime.simulator import simulate
from jogak.sharding.mesh import Mesh
from jogak.targets.distributed.launch import explain
from jogak.targets.distributed.rank import mesh as rank_mesh
from jogak.targets.distributed.rank.measure import Recorder
from jogak.targets.distributed.rank.step import read_constants, read_program
from jogak.targets.distributed.schedule import overlap
from jogak.targets.torch.folder import write_folder
from jogak.targets.torch.kernels import source_of
from jogak.targets.torch.program import write_program

ONE = Mesh(("x",), (1,))
LAYER = """
#ik = affine_map<(i, j, k) -> (i, k)>
#kj = affine_map<(i, j, k) -> (k, j)>
#ij = affine_map<(i, j, k) -> (i, j)>
#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (j)>
module {
  func.func @main(%x: tensor<4x3xf32> {jogak.name = "x"}, %w: tensor<3x5xf32> {jogak.name = "layer.weight"},
                  %b: tensor<5xf32> {jogak.name = "class"}) -> (tensor<4x5xf32> {jogak.name = "y"}) {
    %zero = arith.constant 0.0 : f32
    %c = arith.constant dense<[1.0, 2.0, 3.0, 4.0, 5.0]> : tensor<5xf32>
    %e = tensor.empty() : tensor<4x5xf32>
    %f = linalg.fill ins(%zero : f32) outs(%e : tensor<4x5xf32>) -> tensor<4x5xf32>
    %p = linalg.generic {indexing_maps = [#ik, #kj, #ij], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%x, %w : tensor<4x3xf32>, tensor<3x5xf32>) outs(%f : tensor<4x5xf32>) {
    ^bb0(%p0: f32, %p1: f32, %p2: f32):
      %m = arith.mulf %p0, %p1 : f32
      %s = arith.addf %p2, %m : f32
      linalg.yield %s : f32
    } -> tensor<4x5xf32>
    %r = linalg.generic {indexing_maps = [#id, #row, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%p, %b, %c : tensor<4x5xf32>, tensor<5xf32>, tensor<5xf32>) outs(%e : tensor<4x5xf32>) {
    ^bb0(%q0: f32, %q1: f32, %q2: f32, %q3: f32):
      %s = arith.addf %q0, %q1 : f32
      %t = math.tanh %s : f32
      %u = arith.mulf %t, %q2 : f32
      linalg.yield %u : f32
    } -> tensor<4x5xf32>
    return %r : tensor<4x5xf32>
  }
}
"""


def module_of(text: str) -> Any:
    from torch_mlir import ir

    return ir.Module.parse(text, new_context())


@pytest.mark.parametrize("precision", [None, "f64"])
def test_the_text_computes_what_the_program_says(tmp_path: Path, precision: Any) -> None:
    module = module_of(LAYER)
    values = {"x": torch.randn(4, 3), "layer.weight": torch.randn(3, 5), "class": torch.randn(5)}
    write_folder(load_program(module), ONE, tmp_path, "a layer", precision)
    program = read_program(tmp_path)
    dtype = torch.float64 if precision else torch.float32
    assert program.ARGUMENTS[0] == ("x", dtype, (4, 3))
    arguments = [value.to(dtype) for value in values.values()]
    constants = read_constants(tmp_path, program, torch.device("cpu"))
    (found,) = program.main(arguments, constants, rank_mesh.Mesh(program.MESH, program.GROUPS, 0, 1.0))
    assert not arguments  # given away, so that each can be freed at its last use
    expected = simulate_whole(module, values)["y"]
    torch.testing.assert_close(found.float(), expected)


def test_the_program_names_no_part_of_jogak() -> None:
    text, _ = write_program(load_program(module_of(LAYER)), ONE, None, "a layer")
    assert "jogak" not in text
    assert "class_" in text or "_class" in text  # a keyword of Python is no name


SHARED = """
module {
  shard.grid @mesh(shape = 2) {jogak.axes = ["x"]}
  func.func @main(%a: tensor<4xf32>, %b: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
    %r = shard.all_reduce %a on @mesh grid_axes = [0] : tensor<4xf32> -> tensor<4xf32>
    %s = arith.addf %r, %r : tensor<4xf32>
    %t = arith.mulf %b, %b : tensor<4xf32>
    return %s, %t : tensor<4xf32>, tensor<4xf32>
  }
}
"""


def test_work_that_does_not_wait_goes_first() -> None:
    program = load_program(module_of(SHARED))
    steps = overlap(program.steps, [result.value for result in program.results])
    assert [isinstance(step, CollectiveStep) for step in steps] == [True, False, False]
    assert steps[1].operands == (program.arguments[1].value,) * 2
    text, _ = write_program(program, Mesh(("x",), (2,)), None, "overlap")
    body = text[text.index("def main") :]
    assert body.index("mesh.all_reduce(") < body.index("arg1 * arg1") < body.index(".wait()")


def test_the_cause_comes_before_the_consequences() -> None:
    told = explain(
        "jogak: rank 0: all_reduce over data failed: Connection closed by peer\n"
        "  no word from rank 2: dead, hanging or far behind\n"
        "jogak: rank 1: error: no value for the parameter 'w'\n"
        "  rank      : 2 (local_rank: 2)\n  exitcode  : -9 (pid: 1)\n"
    )
    lines = told.splitlines()
    assert lines[0] == "the run failed: rank 2 was killed by SIGKILL"
    assert lines[1] == "rank 1: no value for the parameter 'w'"


def kernel_source(text: str, shapes: list[str], donated: set[int]) -> tuple[str, Any]:
    arguments = ", ".join(f"%a{number}: {shape}" for number, shape in enumerate(shapes))
    module = module_of(f"module {{ func.func @main({arguments}) -> {shapes[0]} {{ {text} }} }}")
    (step,) = load_program(module).steps
    types = [argument.type for argument in load_program(module).arguments]
    source = source_of(build(step.spec), types, None, frozenset(donated))
    scope: dict[str, Any] = {"torch": torch}
    body = "\n".join(f"    {line}" for line in source.lines)
    exec(f"def kernel({', '.join(source.inputs)}):\n{body}", scope)
    return "\n".join(source.lines), scope["kernel"]


MOMENTS = """
  %r = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>, affine_map<(i) -> (i)>],
                       iterator_types = ["parallel"]}
    ins(%a0, %a1 : tensor<6xf32>, tensor<6xf32>) outs(%a0 : tensor<6xf32>) {
  ^bb0(%v: f32, %g: f32, %o: f32):
    %c = arith.constant 0.75 : f32
    %d = arith.constant 0.25 : f32
    %s = arith.mulf %g, %g : f32
    %t = arith.mulf %s, %d : f32
    %u = arith.mulf %v, %c : f32
    %w = arith.addf %u, %t : f32
    linalg.yield %w : f32
  } -> tensor<6xf32>
  return %r : tensor<6xf32>"""


def test_an_update_takes_two_passes_over_its_own_memory() -> None:
    text, kernel = kernel_source(MOMENTS, ["tensor<6xf32>"] * 2, {0})
    assert text == "return arg0.mul_(0.75).addcmul_(arg1, arg1, value=0.25)"
    moment, gradient = torch.randn(6), torch.randn(6)
    before, given = moment.clone(), gradient.clone()
    found = kernel(moment, gradient)
    torch.testing.assert_close(found, before * 0.75 + given * given * 0.25)
    assert found.data_ptr() == moment.data_ptr()
    assert torch.equal(gradient, given)


def test_what_is_not_given_away_stays_as_it_is() -> None:
    text, kernel = kernel_source(MOMENTS, ["tensor<6xf32>"] * 2, set())
    moment, gradient = torch.randn(6), torch.randn(6)
    before, given = moment.clone(), gradient.clone()
    torch.testing.assert_close(kernel(moment, gradient), before * 0.75 + given * given * 0.25)
    assert torch.equal(moment, before)
    assert torch.equal(gradient, given)
    assert "arg0.mul_" not in text


HALO = """
module {
  shard.grid @mesh(shape = 2x2) {jogak.axes = ["x", "y"]}
  func.func @main(%a: tensor<6x4xf32> {jogak.name = "a"}) -> (tensor<6x4xf32> {jogak.name = "b"}) {
    %0 = shard.update_halo %a on @mesh split_axes = [[0], [1]] halo_sizes = [1, 2, 1, 0] : tensor<6x4xf32>
    return %0 : tensor<6x4xf32>
  }
}
"""


def exchange(rank: int, folder: str, values: dict[str, list[torch.Tensor]]) -> None:
    """What one process of the test below does: run its program and compare with what the simulator found."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=4)
    program = read_program(Path(folder))
    mesh = rank_mesh.Mesh(program.MESH, program.GROUPS, rank, 30.0)
    mesh.recorder = recorder = Recorder()
    (found,) = program.main([values["given"][rank]], {}, mesh)
    ((kind, axes),) = [(each.kind, each.axes) for each in recorder.transfers]  # both dimensions are one exchange
    assert {(kind, axes): 1} == mesh.calls
    torch.testing.assert_close(found, values["expected"][rank], rtol=0, atol=0)
    dist.destroy_process_group()


PIECE = "tensor<6x4xi1>"
PERMUTE = f"""
module {{
  shard.grid @mesh(shape = 2x2) {{jogak.axes = ["x", "y"]}}
  func.func @main(%a: {PIECE} {{jogak.name = "a"}}) -> ({PIECE} {{jogak.name = "b"}}) {{
    %p:2 = shard.process_multi_index on @mesh : index, index
    %s = shard.send %a on @mesh grid_axes = [0, 1] destination = [%p#1, %p#0] : ({PIECE}, index, index) -> {PIECE}
    %r = shard.recv %s on @mesh grid_axes = [0, 1] source = [%p#1, %p#0] : ({PIECE}, index, index) -> {PIECE}
    return %r : {PIECE}
  }}
}}
"""


def test_pieces_change_places(tmp_path: Path) -> None:
    """Truth values, which gloo does not carry; two of the four devices keep their own."""
    program, mesh = load_program(module_of(PERMUTE)), Mesh(("x", "y"), (2, 2))
    given = [torch.rand(6, 4) > 0.5 for _ in range(4)]
    expected = [outputs[0] for outputs in simulate(program, mesh, [{"a": each} for each in given]).outputs]
    assert all(torch.equal(a, given[b]) for a, b in zip(expected, (0, 2, 1, 3), strict=True))
    write_folder(program, mesh, tmp_path, "permute")
    text = (tmp_path / "device.py").read_text(encoding="utf-8")
    assert 'mesh.permute(a, ("x", "y"), sources=(0, 2, 1, 3))' in text
    start_processes(exchange, (str(tmp_path), {"given": given, "expected": expected}), nprocs=4, start_method="fork")


def test_halos_bring_rows_columns_and_corners_of_the_neighbours(tmp_path: Path) -> None:
    program, mesh = load_program(module_of(HALO)), Mesh(("x", "y"), (2, 2))
    given = [torch.randn(6, 4) for _ in range(4)]
    expected = [outputs[0] for outputs in simulate(program, mesh, [{"a": each} for each in given]).outputs]
    assert not any(torch.equal(before, after) for before, after in zip(given, expected, strict=True))
    write_folder(program, mesh, tmp_path, "halos")
    text = (tmp_path / "device.py").read_text(encoding="utf-8")
    assert 'mesh.update_halo(a, (1, ("y",), 1, 0), (0, ("x",), 1, 2))' in text
    values = {"given": given, "expected": expected}
    start_processes(exchange, (str(tmp_path), values), nprocs=4, start_method="fork")
