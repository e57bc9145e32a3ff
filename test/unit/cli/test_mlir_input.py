"""Programs that go in as MLIR text: plain, printed by `--compile-to`, and edited."""

from __future__ import annotations

import json
import re

import pytest

from jogak.cli import main

MLP = "zoo:mlp?layers=2&width=8&features=8&classes=4&batch=4"
ASKED = ("--shard", "x=[data, _]", "--shard", "target=[data]", "--shard", "layers.0.weight=[model, _]")
STEP = ("compile", MLP, "--train", "sgd", "--momentum", "0.9", "--mesh", "data=2,model=2")
PLAIN = """
#id = affine_map<(d0, d1) -> (d0, d1)>
func.func @main(%a: tensor<8x4xf32>, %i: tensor<8x4xi64>) -> tensor<8x4xf32> {
  %e = tensor.empty() : tensor<8x4xf32>
  %0 = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%a, %i : tensor<8x4xf32>, tensor<8x4xi64>) outs(%e : tensor<8x4xf32>) {
  ^bb0(%in: f32, %in2: i64, %out: f32):
    %1 = arith.sitofp %in2 : i64 to f32
    %2 = arith.addf %in, %1 : f32
    linalg.yield %2 : f32
  } -> tensor<8x4xf32>
  return %0 : tensor<8x4xf32>
}
"""


@pytest.fixture(scope="module")
def direct(tmp_path_factory):
    folder = tmp_path_factory.mktemp("direct") / "out"
    assert main.main([*STEP, *ASKED, "-o", str(folder)]) == 0
    return folder


def program(text: str) -> str:
    """The text without source locations: their numbering depends on what else was in the context."""
    text = re.sub(r"^#loc.*\n", "", text, flags=re.MULTILINE)
    return re.sub(r" loc\((?:[^()]|\([^()]*\))*\)", "", text)


@pytest.mark.parametrize("phase", ["import", "normalize", "shard"])
def test_text_of_a_phase_compiles_to_the_same_programs(jogak, direct, tmp_path, phase):
    text = tmp_path / "program.mlir"
    assert jogak(*STEP, *ASKED, "--compile-to", phase, "-o", str(text)).code == 0
    asked = () if phase == "shard" else ASKED
    ran = jogak("compile", str(text), "--mesh", "data=2,model=2", *asked, "-o", str(tmp_path / "out"))
    assert ran.code == 0, ran.err
    for name in ("device.mlir", "program.mlir"):
        ours = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert program(ours) == program((direct / name).read_text(encoding="utf-8"))


def test_phase_is_printed_on_stdout(jogak):
    ran = jogak(*STEP, "--compile-to", "import")
    assert ran.code == 0
    assert "func.func @main" in ran.out
    assert "shard.grid" not in ran.out
    assert ran.err == ""


def test_check_compares_with_the_whole_program(jogak, direct, tmp_path):
    again = tmp_path / "again"
    assert jogak("compile", str(direct / "program.mlir"), "--mesh", "data=2,model=2", "-o", str(again)).code == 0
    ran = jogak("run", str(again), "--check")
    assert ran.code == 0, ran.out
    assert "equal the unpartitioned program on one device (there is no PyTorch model to compare with)" in ran.out
    assert "computed in f64" in ran.out
    assert json.loads((again / "manifest.json").read_text(encoding="utf-8"))["reference"] == "program"


def test_edited_sharding_is_taken_as_it_is(jogak, direct, tmp_path):
    text = (direct / "program.mlir").read_text(encoding="utf-8")
    edited = tmp_path / "edited.mlir"
    edited.write_text(re.sub(r"(?<=[\[ ])model(?=[,\]])", "_", text), encoding="utf-8")
    ran = jogak("compile", str(edited), "--mesh", "data=2,model=2", "-o", str(tmp_path / "out"))
    assert ran.code == 0, ran.err
    assert "grid_axes = [1]" in (direct / "device.mlir").read_text(encoding="utf-8")
    assert "grid_axes = [1]" not in (tmp_path / "out" / "device.mlir").read_text(encoding="utf-8")
    assert jogak("run", str(tmp_path / "out"), "--check").code == 0


def test_constraint_on_an_annotated_program_is_refused(jogak, direct, tmp_path):
    words = ("compile", str(direct / "program.mlir"), "--mesh", "data=2,model=2", "-o", str(tmp_path / "out"))
    ran = jogak(*words, "--shard", "x=[data, _]")
    assert ran.code == 1
    assert "has a sharding already" in ran.err


def test_other_mesh_than_the_annotated_one_is_refused(jogak, direct, tmp_path):
    ran = jogak("compile", str(direct / "program.mlir"), "--mesh", "data=4", "-o", str(tmp_path / "out"))
    assert ran.code == 1
    assert "--mesh data=2,model=2" in ran.err


def test_program_without_any_attribute(jogak, tmp_path):
    (tmp_path / "plain.mlir").write_text(PLAIN, encoding="utf-8")
    out = tmp_path / "out"
    words = ("compile", str(tmp_path / "plain.mlir"), "--mesh", "data=2", "--shard", "arg0=[data, _]", "-o", str(out))
    assert jogak(*words).code == 0
    assert "tensor<4x4xf32>" in (out / "device.mlir").read_text(encoding="utf-8")
    ran = jogak("run", str(out), "--check")
    assert ran.code == 0, ran.out
    assert "passed: 1 results" in ran.out


def test_constraint_in_the_text_is_obeyed(jogak, tmp_path):
    text = PLAIN.replace("%a: tensor<8x4xf32>", '%a: tensor<8x4xf32> {jogak.constraint = "[data, _]"}')
    (tmp_path / "asked.mlir").write_text(text, encoding="utf-8")
    assert jogak("compile", str(tmp_path / "asked.mlir"), "--mesh", "data=2", "-o", str(tmp_path / "out")).code == 0
    assert "tensor<4x4xf32>" in (tmp_path / "out" / "device.mlir").read_text(encoding="utf-8")
