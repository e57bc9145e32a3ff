"""The commands on small models: what they print, write and leave behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import jsonschema
import pytest

from jogak.report import output

MLP = "zoo:mlp?layers=2&width=8&features=8&classes=4&batch=4"
GPT = "zoo:gpt2?layers=2&width=16&heads=2&vocab=32&sequence=8&context=8&batch=4"
MEGATRON = (
    "tokens=[data, _]",
    "target=[data, _]",
    "blocks.*.attn.qkv.weight=[model, _]",
    "blocks.*.mlp.up.weight=[model, _]",
)


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    """A GPT-2 training step with data and tensor parallelism."""
    from jogak.cli import main

    folder = tmp_path_factory.mktemp("gpt") / "out"
    words = ["compile", GPT, "--train", "adamw", "--mesh", "data=2,model=2", "-o", str(folder)]
    assert main.main([*words, *(word for each in MEGATRON for word in ("--shard", each))]) == 0
    return folder


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def test_compile_answers_on_stdout_and_writes_the_folder(jogak, tmp_path):
    ran = jogak("compile", MLP, "--mesh", "data=2", "--shard", "x=[data, _]", "-o", str(tmp_path / "out"))
    assert ran.code == 0
    assert ran.err == ""
    assert ran.out.startswith(f"{MLP} for 2 devices (data=2) -> ")
    assert "no collectives" in ran.out
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "device.mlir",
        "manifest.json",
        "memory.json",
        "program.mlir",
        "timeline.json",
    ]


@pytest.mark.parametrize("fixture", ["compiled", "gpt"])
def test_manifest_fits_its_schema(request, fixture, root):
    schema = json.loads((root / "docs" / "manifest.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(manifest_of(request.getfixturevalue(fixture)), schema)


@pytest.mark.slow
def test_two_compilations_give_the_same_bytes(compiled, tmp_path):
    command = [sys.executable, "-m", "jogak.cli.main", "compile", MLP, "--train", "adamw", "--mesh", "data=2,model=2"]
    more = ["--shard", "layers.0.weight=[model, _]", "-o", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([*command, *more], check=True, capture_output=True, env=environment)
    for path in compiled.rglob("*"):
        twin = (tmp_path / "out" / path.relative_to(compiled)).read_text(encoding="utf-8")
        assert without_seconds(twin) == without_seconds(path.read_text(encoding="utf-8"))


def without_seconds(text: str) -> str:
    return re.sub(r'"seconds": [0-9.]+', '"seconds": 0', text)


UNEVEN = """
func.func @main(%w: tensor<8x2xf32> {jogak.role = "parameter"}) -> (tensor<3x2xf32>, tensor<5x2xf32>) {
  %a = tensor.extract_slice %w[0, 0] [3, 2] [1, 1] : tensor<8x2xf32> to tensor<3x2xf32>
  %b = tensor.extract_slice %w[3, 0] [5, 2] [1, 1] : tensor<8x2xf32> to tensor<5x2xf32>
  return %a, %b : tensor<3x2xf32>, tensor<5x2xf32>
}
"""


def test_what_passes_tell_goes_to_stderr(jogak, tmp_path):
    (tmp_path / "uneven.mlir").write_text(UNEVEN, encoding="utf-8")
    ran = jogak("compile", str(tmp_path / "uneven.mlir"), "--mesh", "data=2", "-o", str(tmp_path / "out"))
    assert ran.code == 0
    assert "uneven.mlir:3: remark: 'arg0' is taken apart into unequal pieces (3, 5)" in ran.err
    assert "remark" not in ran.out
    assert manifest_of(tmp_path / "out")["warnings"] == ran.err.splitlines()


def test_force_replaces_an_output(jogak, tmp_path):
    words = ("compile", MLP, "-o", str(tmp_path / "out"))
    assert jogak(*words, "--mesh", "data=2").code == 0
    assert jogak(*words, "--mesh", "data=4").code == 1
    assert manifest_of(tmp_path / "out")["mesh"]["devices"] == 2
    assert jogak(*words, "--mesh", "data=4", "--force").code == 0
    assert manifest_of(tmp_path / "out")["mesh"]["devices"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_interrupted_writing_leaves_nothing(jogak, tmp_path, monkeypatch, error):
    def stop(manifest):
        raise error

    monkeypatch.setattr(output, "dump", stop)
    ran = jogak("compile", MLP, "--mesh", "data=2", "-o", str(tmp_path / "out"))
    assert ran.code == (130 if error is KeyboardInterrupt else 1)
    assert ran.out == ""
    assert ("interrupted" in ran.err) or ("No space left" in ran.err)
    assert list(tmp_path.iterdir()) == []


def test_killed_writing_leaves_nothing_under_the_name(tmp_path):
    script = f"""
import os, signal
from jogak.cli import main
from jogak.report import output
output.dump = lambda manifest: os.kill(os.getpid(), signal.SIGKILL)
main.main(["compile", {MLP!r}, "--mesh", "data=2", "-o", "out"])
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, check=False)
    assert ran.returncode == -signal.SIGKILL
    left = [path.name for path in tmp_path.iterdir()]
    assert left
    assert all(name.startswith(".out-") for name in left)


def test_run_and_check(jogak, compiled):
    ran = jogak("run", str(compiled))
    assert ran.code == 0
    assert ran.out.startswith("loss = ")
    assert ran.err == ""
    checked = jogak("run", str(compiled), "--check")
    assert checked.code == 0, checked.out
    assert "collectives as promised" in checked.out
    assert re.search(r"passed: \d+ results equal PyTorch eager", checked.out)


def test_check_fails_when_the_program_is_wrong(jogak, compiled, tmp_path):
    import shutil

    wrong = tmp_path / "wrong"
    shutil.copytree(compiled, wrong)
    device = wrong / "device.mlir"
    text = device.read_text(encoding="utf-8")
    assert "arith.maximumf" in text
    device.write_text(text.replace("arith.maximumf", "arith.minimumf", 1), encoding="utf-8")
    ran = jogak("run", str(wrong), "--check")
    assert ran.code == 1
    assert "FAILED" in ran.out


def test_check_fails_when_a_promise_is_broken(jogak, gpt, tmp_path):
    import shutil

    wrong = tmp_path / "wrong"
    shutil.copytree(gpt, wrong)
    manifest = manifest_of(wrong)
    next(iter(manifest["predicted"]["collectives"].values()))["count"] += 1
    (wrong / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    ran = jogak("run", str(wrong), "--check")
    assert ran.code == 1
    assert "NOT" in ran.out


def test_explain_shows_every_collective_at_a_line_of_the_user(jogak, gpt):
    ran = jogak("explain", str(gpt))
    assert ran.code == 0
    assert ran.err == ""
    counted = sum(entry["count"] for entry in manifest_of(gpt)["predicted"]["collectives"].values())
    heading, _, told = ran.out[ran.out.index("collectives, ") :].partition("\n")
    assert heading == f"collectives, {counted} in all:"
    shown = 0
    for entry in re.split(r"\n(?=  \S)", told.rstrip("\n")):
        summary, *rest = entry.splitlines()
        times = re.search(r"(\d+) times$", summary)
        shown += int(times[1]) if times else 1
        for line in rest[1:] if "in one bucket" in rest[0] else [summary + rest[0]]:
            place = re.search(r" at (\S+):\d+$", line)
            assert place is not None or line.strip().startswith("loss"), line
            assert place is None or "/jogak/zoo/" in place[1], line
    assert shown == counted
    assert "<unknown>" not in ran.out


def test_explain_writes_repeated_layers_once(jogak, gpt):
    ran = jogak("explain", str(gpt))
    assert "blocks.{0,1}.mlp.up.weight: f32[64@model, 16] (parameter)" in ran.out
    assert re.search(r"blocks\.\{0,1\}\.mlp\.down: all_reduce on model, 1\.0 KiB each, 2 times", ran.out)
    assert "forward" in ran.out
    assert "backward" in ran.out


@pytest.mark.parametrize(
    ("value", "sharding", "source"),
    [
        ("blocks.0.mlp.up.weight", "f32[64@model, 16]", "given by --shard 'blocks.*.mlp.up.weight=[model, _]'"),
        ("blocks.1.mlp.down.weight", "f32[16, 64@model]", "given by --shard 'blocks.*.mlp.up.weight=[model, _]'"),
        ("exp_avg.blocks.1.mlp.up.weight", "f32[64@model, 16]", "given by --shard 'blocks.*.mlp.up.weight=[model, _]'"),
        ("tokens", "i64[4@data, 8]", "given by --shard 'tokens=[data, _]'"),
        ("blocks.0.mlp.up", "f32[4@data, 8, 64@model]", "given by --shard 'tokens=[data, _]'"),
    ],
)
def test_explain_leads_back_to_the_constraint(jogak, gpt, value, sharding, source):
    ran = jogak("explain", str(gpt), value)
    assert ran.code == 0
    assert f"{value}: {sharding}" in ran.out
    assert source in ran.out


def test_explain_tells_when_nothing_reaches_a_value(jogak, gpt):
    assert "on every device whole: no constraint reaches it" in jogak("explain", str(gpt), "wpe.weight").out


RUNNING_SUM = """import torch

class Sum(torch.nn.Module):
    def forward(self, x): return torch.cumsum(x, 1)

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.along = Sum()
    def forward(self, x): return self.along(x)

def build():
    return Model(), (torch.zeros(4, 8),)
"""


def test_coverage_lists_what_stays_whole(jogak, tmp_path):
    (tmp_path / "model.py").write_text(RUNNING_SUM, encoding="utf-8")
    ran = jogak("compile", f"{tmp_path / 'model.py'}:build", "--mesh", "data=2", "-o", str(tmp_path / "out"))
    assert ran.code == 0
    assert re.search(
        r"partly: tm_tensor.scan, 0\.00% of the arithmetic, at \S+model.py:4 \(along\): .* works along the dimension",
        ran.out,
    )
    (entry,) = manifest_of(tmp_path / "out")["coverage"]["replicated"]
    assert entry["whole"] is False
    assert "model.py:4" in entry["location"]


UNKNOWN_OP = """
func.func @main(%a: tensor<8x4xf32>) -> tensor<8x4xi32> {
  %0 = tensor.bitcast %a : tensor<8x4xf32> to tensor<8x4xi32>
  return %0 : tensor<8x4xi32>
}
"""


def test_strict_refuses_an_op_without_a_rule(jogak, tmp_path):
    (tmp_path / "model.mlir").write_text(UNKNOWN_OP, encoding="utf-8")
    words = ("compile", str(tmp_path / "model.mlir"), "--mesh", "data=2", "-o", str(tmp_path / "out"))
    strict = jogak(*words, "--strict")
    assert strict.code == 1
    assert strict.out == ""
    assert "model.mlir:3: error: replicated: tensor.bitcast" in strict.err
    assert not (tmp_path / "out").exists()
    lenient = jogak(*words)
    assert lenient.code == 0
    assert "replicated: tensor.bitcast" in lenient.out


def test_zoo_and_plugins_and_version(jogak):
    models = jogak("zoo")
    assert models.code == 0
    assert re.search(r"^gpt2 +GPT-2", models.out, re.MULTILINE)
    options = jogak("zoo", "gpt2")
    assert re.search(r"^  layers +12 +int$", options.out, re.MULTILINE)
    assert jogak("zoo", "zoo:gpt2").out == options.out
    plugins = jogak("plugins")
    assert "jogak-partition" in plugins.out
    assert re.fullmatch(r"jogak \d+\.\d+\.\d+\S*\n", jogak("--version").out)


def test_doctor_finds_a_good_installation(jogak):
    ran = jogak("doctor")
    assert ran.code == 0, ran.out
    assert "ok       torch " in ran.out
    assert "ok       target sim\n" in ran.out


def test_doctor_says_what_a_target_lacks(jogak, monkeypatch):
    from jogak.targets.iree import compiler

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(compiler, "version", missing)
    ran = jogak("doctor")
    assert ran.code == 0
    for name in ("iree", "iree-cuda"):
        assert f"optional target {name}: " in ran.out
    assert "iree-base-compiler, which is not installed: pip install 'jogak[iree]'" in ran.out
    assert "ok       target torch\n" in ran.out


def test_help_names_every_command(jogak):
    ran = jogak("--help")
    assert ran.code == 0
    for command in ("compile", "run", "explain", "zoo", "plugins", "doctor", "--version", "--debug"):
        assert command in ran.out
    assert jogak("-h").out == ran.out
    assert jogak().out == ran.out


PLUGIN = """
from jogak.cost.model import Roofline
from jogak.plugin import Plugin


class Slow(Roofline):
    def kernel(self, *given):
        return 1000 * super().kernel(*given)


plugin = Plugin(name="slow", cost_models={"slow": lambda: Slow})
"""


def test_the_frontier_has_the_prices_of_the_plan(jogak, tmp_path):
    """Also those of a plug-in that the compilation loaded."""
    (tmp_path / "slow.py").write_text(PLUGIN, encoding="utf-8")
    words = ["compile", MLP, "--train", "sgd", "--mesh", "data=1", "-o", str(tmp_path / "out")]
    assert jogak(*words, "--load-plugin", str(tmp_path / "slow.py"), "--cost-model", "slow").code == 0
    ran = jogak("frontier", str(tmp_path / "out"), "--points", "2", "--time-limit", "0.5")
    assert ran.code == 0, ran.err
    promised = manifest_of(tmp_path / "out")["predicted"]["compute_time_s"]
    assert json.loads(ran.out)["step_time_s"] == pytest.approx(promised, rel=0.01)
