"""Contexts, and reading and printing modules."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jogak.errors import JogakError
from jogak.ir.context import new_context, parse_file, parse_module
from jogak.ir.diagnostics import PassFailed
from jogak.ir.module import main_function, print_module

SHARD_AND_TM_TENSOR = """
shard.grid @mesh(shape = 2x4) {jogak.axes = ["data", "model"]}
func.func @main(%a: tensor<8xi32>) -> tensor<8xi32> {
  %0 = tm_tensor.sort dimension(0) outs(%a : tensor<8xi32>) {
  ^bb0(%x: i32, %y: i32):
    %1 = arith.cmpi sle, %x, %y : i32
    tm_tensor.yield %1 : i1
  } -> tensor<8xi32>
  %2 = shard.all_reduce %0 on @mesh grid_axes = [1] : tensor<8xi32> -> tensor<8xi32>
  return %2 : tensor<8xi32>
}
"""


def test_every_dialect_parses():
    module = parse_module(SHARD_AND_TM_TENSOR, new_context())
    assert main_function(module).name.value == "main"


def test_context_is_single_threaded():
    assert new_context().get_num_threads() == 1


def test_unregistered_dialects_only_when_asked():
    text = '"other.op"() : () -> ()'
    with pytest.raises(PassFailed, match=r"in.mlir:1: error: operation being parsed with an unregistered dialect"):
        parse_module(text, new_context(), "in.mlir")
    parse_module(text, new_context(allow_unregistered=True))


def test_parse_error_has_file_line_and_column():
    with pytest.raises(PassFailed) as caught:
        parse_module("\n\n  func.func @f( {", new_context(), "model.mlir")
    place = caught.value.diagnostics[0].location
    assert (place.file, place.line, place.column) == ("model.mlir", 3, 16)


def test_file_is_named_in_locations(tmp_path):
    path = tmp_path / "main.mlir"
    path.write_text("func.func @main() {\n  return\n}\n", encoding="utf-8")
    module = parse_file(path, new_context())
    assert str(path) in str(main_function(module).location)
    with pytest.raises(JogakError, match="no such file"):
        parse_file(tmp_path / "none.mlir", new_context())


def test_long_messages_are_cut():
    arguments = ", ".join(f"%arg{i}: tensor<4xf32>" for i in range(200))
    text = f"func.func @f({arguments}) -> i32 {{\n  return\n}}"
    with pytest.raises(PassFailed) as caught:
        parse_module(text, new_context())
    messages = [each.message for each in (*caught.value.diagnostics, *caught.value.diagnostics[0].notes)]
    assert max(map(len, messages)) < 500


def test_main_is_required():
    module = parse_module("func.func @other() {\n  return\n}", new_context())
    with pytest.raises(JogakError, match=r"no function @main\n  hint: functions in it: @other"):
        main_function(module)


def test_printing_elides_and_locates():
    values = ", ".join(map(str, range(17)))
    text = f"func.func @main() -> tensor<17xi8> {{\n  %0 = arith.constant dense<[{values}]> : tensor<17xi8>\n"
    module = parse_module(f"{text}  return %0 : tensor<17xi8>\n}}", new_context())
    assert "15, 16" not in print_module(module)
    assert "15, 16" in print_module(module, elide=None)
    assert "loc(" not in print_module(module)
    assert "loc(" in print_module(module, locations=True)
    assert print_module(module).endswith("}\n")


def test_importing_the_ir_layer_leaves_torch_out():
    code = "import sys, jogak.ir.pass_manager, jogak.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
