"""Models that come as files: `.pt2`, `.onnx`, `.mlir`, and weights in safetensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from jogak.errors import JogakError
from jogak.ingress.importer import import_program
from jogak.ingress.options import ImportOptions, Optimizer
from jogak.ingress.program import Program
from jogak.ingress.reference import initial_values, run_reference
from jogak.ingress.weights import read_weights, write_weights
from jogak.ir.diagnostics import PassFailed
from jogak.ir.module import main_function

Compare = Callable[[str, ImportOptions], Program]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * 16, 5)
        self.register_buffer("shift", torch.arange(5.0), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.max_pool2d(torch.relu(self.norm(self.conv(x))), 2)
        return self.head(y.flatten(1)) + self.shift * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])


def exported(folder: Path, training: bool = False, **options: Any) -> str:
    torch.manual_seed(0)
    program = torch.export.export(Net().train(training), (torch.randn(2, 3, 8, 8),), **options)
    torch.export.save(program, folder / "net.pt2")
    return str(folder / "net.pt2")


def test_pt2_infers(compare: Compare, tmp_path: Path) -> None:
    program = compare(exported(tmp_path), ImportOptions())
    roles = {argument.name: argument.role for argument in program.arguments}
    assert roles["shift"] == roles["norm.running_var"] == "buffer"
    assert roles["x"] == "input"


def test_pt2_trains(compare: Compare, tmp_path: Path) -> None:
    options = ImportOptions(Optimizer("sgd"), loss="cross_entropy")
    program = compare(exported(tmp_path, training=True), options)
    assert "norm.running_mean" in {result.updates for result in program.results}


def test_pt2_keeps_the_source_lines(tmp_path: Path) -> None:
    text = import_program(exported(tmp_path), ImportOptions()).module.operation.get_asm(enable_debug_info=True)
    assert __file__ in text
    assert 'loc("conv"' in text


def test_pt2_with_dynamic_shapes(tmp_path: Path) -> None:
    path = exported(tmp_path, dynamic_shapes=({0: torch.export.Dim("batch")},))
    with pytest.raises(JogakError, match="x dimension 0") as caught:
        import_program(path, ImportOptions())
    assert caught.value.where == path


def onnx_model(folder: Path, batch: int | str = 2) -> str:
    onnx = pytest.importorskip("onnx")
    helper, array = onnx.helper, onnx.numpy_helper.from_array
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(8, 5, generator=generator).numpy()
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["flat"], name="flatten"),
        helper.make_node("MatMul", ["flat", "weight"], ["product"], name="project"),
        helper.make_node("Relu", ["product"], ["y"], name="clip"),
    ]
    single = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", single, [batch, 2, 4])],
        [helper.make_tensor_value_info("y", single, [batch, 5])],
        [array(weight, "weight"), array(torch.tensor([-1, 8]).numpy(), "shape")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "net.onnx")
    return str(folder / "net.onnx")


def test_onnx_weights_become_arguments(tmp_path: Path) -> None:
    imported = import_program(onnx_model(tmp_path), ImportOptions())
    attributes = main_function(imported.module).operation.attributes["arg_attrs"]
    assert [(each["jogak.name"].value, each["jogak.role"].value) for each in attributes] == [
        ("weight", "parameter"),
        ("x", "input"),
    ]
    assert imported.weights is not None
    assert set(imported.weights) == {"weight"}
    assert not imported.reference
    assert set(initial_values(onnx_model(tmp_path), ImportOptions())) == {"weight", "x"}


def test_onnx_with_dynamic_shapes(tmp_path: Path) -> None:
    with pytest.raises(JogakError, match=r"x dimension 0 \(batch\)"):
        import_program(onnx_model(tmp_path, "batch"), ImportOptions())


def test_onnx_package_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.onnx").write_text("")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(JogakError, match="needs the package onnx") as caught:
        import_program(str(tmp_path / "net.onnx"), ImportOptions())
    assert "pip install" in str(caught.value.hint)


def test_onnx_file_is_damaged(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    (tmp_path / "net.onnx").write_text("no protobuf at all")
    with pytest.raises(JogakError, match="not a valid ONNX model"):
        import_program(str(tmp_path / "net.onnx"), ImportOptions())


MLIR = """
func.func @main(%a: tensor<2x3xf32> {jogak.name = "weights", jogak.role = "parameter"}, %b: tensor<2x3xf32>)
    -> tensor<2x3xf32> {
  %0 = arith.addf %a, %b : tensor<2x3xf32>
  return %0 : tensor<2x3xf32>
}
"""


def test_mlir_is_completed(tmp_path: Path) -> None:
    path = tmp_path / "program.mlir"
    path.write_text(MLIR)
    imported = import_program(str(path), ImportOptions())
    text = imported.module.operation.get_asm()
    assert 'jogak.name = "weights", jogak.role = "parameter"' in text
    assert 'jogak.name = "arg1", jogak.role = "input"' in text
    assert 'jogak.name = "output", jogak.role = "output"' in text
    assert imported.inputs["arg1"].shape == (2, 3)
    with pytest.raises(JogakError, match="no PyTorch model to compare"):
        run_reference(str(path), ImportOptions(), {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MLIR.replace("2x3", "?x3"), "argument weights has a dynamic dimension 0"),
        (MLIR.replace("tensor<2x3xf32>", "f32"), "argument weights is f32"),
        (MLIR.replace("@main", "@other"), "no function @main"),
    ],
)
def test_mlir_that_breaks_the_contract(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "program.mlir"
    path.write_text(text)
    with pytest.raises(JogakError, match=message):
        import_program(str(path), ImportOptions())


def test_mlir_that_is_no_mlir(tmp_path: Path) -> None:
    path = tmp_path / "program.mlir"
    path.write_text("func.func @main(")
    with pytest.raises(PassFailed, match=r"program.mlir:1"):
        import_program(str(path), ImportOptions())


@pytest.mark.parametrize("suffix", [".mlir", ".onnx"])
def test_finished_programs_cannot_be_trained(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"program{suffix}"
    path.write_text(MLIR)
    with pytest.raises(JogakError, match="needs a PyTorch model"):
        import_program(str(path), ImportOptions(Optimizer("sgd"), loss="mse"))


def test_weights_survive_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "weights" / "parameters.safetensors"
    weights = {
        "b": torch.randn(3, 4).t(),
        "a.bf16": torch.randn(5).bfloat16(),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(7),
        "mask": torch.tensor([True, False]),
        "parameter": nn.Parameter(torch.ones(2)),
    }
    write_weights(weights, path)
    for read in (read_weights(path), load_file(path)):
        assert list(read) == sorted(weights)
        assert all(
            torch.equal(read[name], value) and read[name].dtype == value.dtype for name, value in weights.items()
        )
    before = path.read_bytes()
    write_weights(dict(reversed(weights.items())), path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_weights_that_cannot_be_written_or_read(tmp_path: Path) -> None:
    with pytest.raises(JogakError, match="complex64"):
        write_weights({"c": torch.zeros(2, dtype=torch.complex64)}, tmp_path / "w.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"\x08" * 20)
    with pytest.raises(JogakError, match="cannot be read"):
        read_weights(tmp_path / "damaged.safetensors")
    with pytest.raises(JogakError, match="no such file"):
        read_weights(tmp_path / "missing.safetensors")
