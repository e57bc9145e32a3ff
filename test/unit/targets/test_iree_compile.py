"""What the target iree makes of a program, in this process."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch

from jogak.errors import JogakError
from jogak.ir.context import new_context
from jogak.ir.pass_manager import run_pipeline
from jogak.runtime.program import load_program
from jogak.targets.distributed.rank import mesh as rank_mesh
from jogak.targets.distributed.rank.errors import RunError
from jogak.targets.distributed.rank.step import read_constants, read_program
from jogak.targets.iree import compiler
from jogak.targets.iree.backend import BACKENDS
from jogak.targets.iree.compiler import compile_module
from jogak.targets.iree.segments import segment
from jogak.targets.iree.target import Iree

pytest.importorskip("iree.compiler", reason="the extra [iree] is not installed")
pytest.importorskip("iree.runtime", reason="the extra [iree] is not installed")

PROGRAM = """
#id = affine_map<(i) -> (i)>
module {
  shard.grid @mesh(shape = 2) {jogak.axes = ["x"]}
  func.func @main(%a: tensor<4xf32> {jogak.name = "a"}, %n: tensor<4xi64> {jogak.name = "n"})
      -> (tensor<2x2xf32>, tensor<2xf32>, tensor<4xi1>, tensor<4xi64>) {
    %e = tensor.empty() : tensor<4xf32>
    %place = shard.process_multi_index on @mesh axes = [0] : index
    %cast = arith.index_cast %place : index to i64
    %d = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]}
      ins(%a : tensor<4xf32>) outs(%e : tensor<4xf32>) {
    ^bb0(%p: f32, %q: f32):
      %t = arith.addf %p, %p : f32
      linalg.yield %t : f32
    } -> tensor<4xf32>
    %again = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]}
      ins(%a : tensor<4xf32>) outs(%e : tensor<4xf32>) attrs = {jogak.recompute_of = "d", jogak.recompute = 0 : i64} {
    ^bb0(%p: f32, %q: f32):
      %t = arith.addf %p, %p : f32
      linalg.yield %t : f32
    } -> tensor<4xf32>
    %v = tensor.expand_shape %d [[0, 1]] output_shape [2, 2] : tensor<4xf32> into tensor<2x2xf32>
    %s = shard.all_slice %again on @mesh grid_axes = [0] slice_axis = 0 : tensor<4xf32> -> tensor<2xf32>
    %eb = tensor.empty() : tensor<4xi1>
    %zero = arith.constant 0.0 : f32
    %b = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]}
      ins(%d : tensor<4xf32>) outs(%eb : tensor<4xi1>) {
    ^bb0(%p: f32, %q: i1):
      %t = arith.cmpf ogt, %p, %zero : f32
      linalg.yield %t : i1
    } -> tensor<4xi1>
    %en = tensor.empty() : tensor<4xi64>
    %m = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]}
      ins(%n : tensor<4xi64>) outs(%en : tensor<4xi64>) {
    ^bb0(%p: i64, %q: i64):
      %t = arith.addi %p, %cast : i64
      linalg.yield %t : i64
    } -> tensor<4xi64>
    return %v, %s, %b, %m : tensor<2x2xf32>, tensor<2xf32>, tensor<4xi1>, tensor<4xi64>
  }
}
"""


def module_of(text: str) -> Any:
    from torch_mlir import ir

    return ir.Module.parse(text, new_context())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from jogak.sharding.mesh import Mesh

    path = tmp_path_factory.mktemp("iree")
    Iree().write_module(module_of(PROGRAM), Mesh(("x",), (2,)), path, "a program")
    return path


@pytest.mark.parametrize("rank", [0, 1])
def test_one_module_serves_every_device(folder: Path, rank: int) -> None:
    program = read_program(folder)
    functions = read_constants(folder, program, torch.device("cpu"))
    place = rank_mesh.Mesh({"x": 1}, (), 0, 1.0)
    place.position = {"x": rank}
    values = torch.tensor([1.0, -2.0, 3.0, -4.0])
    arguments = [torch.cat([torch.zeros(1), values])[1:], torch.arange(4)]  # the first starts at an odd address
    doubled, piece, positive, moved = program.main(arguments, functions, place)
    assert torch.equal(doubled, (values * 2).reshape(2, 2))
    assert torch.equal(piece, (values * 2)[2 * rank : 2 * rank + 2])
    assert torch.equal(positive, values > 0)
    assert torch.equal(moved, torch.arange(4) + rank)
    assert len({each.untyped_storage().data_ptr() for each in (doubled, piece, positive, moved)}) == 4
    assert functions.peak_bytes > 0


def text_of(program: str) -> str:
    module = module_of(program)
    return segment(module, load_program(module)).text


def test_what_is_computed_again_is_in_another_function() -> None:
    text = text_of(PROGRAM)
    assert text.count('"util.optimization_barrier"') == 0
    assert text.count('"func.func"') == 2
    assert "jogak" not in text
    assert "shard." not in text


def test_what_one_function_does_twice_is_behind_a_barrier() -> None:
    first = "outs(%e : tensor<4xf32>) {"
    twice = 'outs(%e : tensor<4xf32>) attrs = {jogak.recompute_of = "c", jogak.recompute = 1 : i64} {'
    assert PROGRAM.count(first) == 1
    text = text_of(PROGRAM.replace(first, twice))
    assert text.count('"util.optimization_barrier"') == 1


_KIND = "tensor<256x256xf32>"
SQUARE = 4 * 256 * 256


def products(count: int, returned: str) -> str:
    """A program that multiplies `%m0` with itself, and what comes out again with `%m0`."""
    lines = [
        f"%m{number + 1} = linalg.matmul ins(%m{number}, %m0 : {_KIND}, {_KIND}) outs(%start : {_KIND}) -> {_KIND}"
        for number in range(count)
    ]
    kinds = ", ".join(_KIND for _ in returned.split(","))
    return f"""
      module {{
        shard.grid @mesh(shape = 1) {{jogak.axes = ["x"]}}
        func.func @main(%m0: {_KIND} {{jogak.name = "a"}}) -> ({kinds}) {{
          %zero = arith.constant 0.0 : f32
          %e = tensor.empty() : {_KIND}
          %start = linalg.fill ins(%zero : f32) outs(%e : {_KIND}) -> {_KIND}
          {chr(10).join(lines)}
          return {returned} : {kinds}
        }}
      }}"""


ALONE = """
import sys
from pathlib import Path
import torch
from jogak.targets.distributed.rank.mesh import Mesh
from jogak.targets.distributed.rank.step import read_constants, read_program

folder = Path(sys.argv[1])
program = read_program(folder)
functions = read_constants(folder, program, torch.device("cpu"))
given = torch.load(folder / "given.pt")
done = program.main([given], functions, Mesh({"x": 1}, (), 0, 1.0))
torch.save(list(done), folder / "done.pt")
print(functions.peak_bytes)
"""


def run_alone(module: Any, folder: Path, given: torch.Tensor) -> tuple[list[torch.Tensor], int]:
    """The results of a program of one argument, and the most bytes that IREE gave out: it counts a whole process."""
    from jogak.sharding.mesh import Mesh

    Iree().write_module(module, Mesh(("x",), (1,)), folder, "products")
    torch.save(given, folder / "given.pt")
    done = subprocess.run([sys.executable, "-c", ALONE, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "done.pt"), int(done.stdout)


def test_a_result_that_is_read_in_its_function_is_held_once(tmp_path: Path) -> None:
    given = torch.randn(256, 256) / 16
    (square, cube), peak = run_alone(module_of(products(2, "%m1, %m2")), tmp_path, given)
    torch.testing.assert_close(square, given @ given)
    torch.testing.assert_close(cube, given @ given @ given)
    assert peak == 2 * SQUARE


PLAN = "builtin.module(func.func(linalg-generalize-named-ops),jogak-recognize-fills,jogak-plan-memory)"


def test_functions_are_cut_where_the_plan_has_less_memory(tmp_path: Path) -> None:
    given = torch.randn(256, 256) / 16
    module = module_of(products(4, "%m4"))
    whole = segment(module, load_program(module))
    run_pipeline(module, PLAN)
    program = load_program(module)
    assert program.arena is not None
    assert program.arena.size == 3 * SQUARE
    assert len(whole.steps) == 1
    (made,), peak = run_alone(module, tmp_path, given)
    torch.testing.assert_close(made, given @ given @ given @ given @ given)
    assert peak == 2 * SQUARE  # the argument is not IREE's


def test_another_module_is_refused(folder: Path, tmp_path: Path) -> None:
    program = read_program(folder)
    with pytest.raises(RunError, match="the compiled module is missing"):
        read_constants(tmp_path, program, torch.device("cpu"))
    (tmp_path / "segments.vmfb").write_bytes(b"something else")
    with pytest.raises(RunError, match="not the module that the program was compiled with"):
        read_constants(tmp_path, program, torch.device("cpu"))


@pytest.mark.parametrize("name", ["iree-cuda", "iree-rocm", "iree-vulkan"])
def test_other_devices_get_their_artifact(name: str) -> None:
    module = module_of(PROGRAM)
    assert compile_module(segment(module, load_program(module)).text, BACKENDS[name])


def test_a_module_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiler.CACHE, str(tmp_path))
    text = "func.func @f(%x: tensor<4xf32>) -> tensor<4xf32> { return %x : tensor<4xf32> }"
    made = compile_module(text, BACKENDS["iree"])
    monkeypatch.setattr(compiler, "_run", lambda *_: pytest.fail("compiled again"))
    assert compile_module(text, BACKENDS["iree"]) == made
    assert len(list(tmp_path.glob("iree/*.vmfb"))) == 1


def test_what_iree_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiler.CACHE, "off")
    with pytest.raises(JogakError, match="IREE cannot compile the program") as told:
        compile_module("func.func @f() { no.such }", BACKENDS["iree"])
    assert "segments.mlir" in (told.value.hint or "")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(compiler, "version", missing)
    with pytest.raises(JogakError, match="needs iree-base-compiler") as told:
        compile_module("", BACKENDS["iree"])
    assert told.value.hint == "pip install 'jogak[iree]'"
