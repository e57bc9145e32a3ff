"""The example package is installed as a user would do it, and its pass and its rule are used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
BITCAST = """
shard.grid @mesh(shape = 2) {jogak.axes = ["data"]}
func.func @main(%a: tensor<8x4xf32> {jogak.constraint = "[data, _]"}) -> tensor<8x4xi32> {
  %0 = tensor.bitcast %a : tensor<8x4xf32> to tensor<8x4xi32>
  return %0 : tensor<8x4xi32>
}
"""


def install(source: Path, target: Path) -> dict[str, str]:
    """Install a package with pip into a folder; returns the environment in which it is found."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(source)], check=True, capture_output=True)
    return {"PYTHONPATH": os.pathsep.join([str(target), os.environ.get("PYTHONPATH", "")])}


def copy_package(target: Path, **replaced: str) -> Path:
    """A copy of the example package with words in its files replaced."""
    target.mkdir()
    for name in ("pyproject.toml", "jogak_example_plugin.py"):
        text = (FOLDER / name).read_text(encoding="utf-8")
        for old, new in replaced.items():
            text = text.replace(old.replace("_", "-"), new)
        (target / name).write_text(text, encoding="utf-8")
    return target


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("example")
    return install(copy_package(folder / "source"), folder / "site")


def test_is_small():
    assert len((FOLDER / "jogak_example_plugin.py").read_text(encoding="utf-8").splitlines()) < 40


def test_pass_is_listed_and_runs(run_opt, installed):
    assert "example-count-ops" in run_opt("--list-passes", env=installed).stdout
    text = "func.func @main() {\n  return\n}\n"
    result = run_opt("--pass-pipeline=cse,example-count-ops{op=func.return}", text=text, env=installed)
    assert result.returncode == 0
    assert "<stdin>:1: remark: @main has 1 ops func.return" in result.stderr


def test_rule_carries_the_sharding_through(run_opt, installed):
    result = run_opt("--pass-pipeline=jogak-propagate", text=BITCAST, env=installed)
    assert 'jogak.sharding = ["[data, _]"]' in bitcast_line(result.stdout)


def test_without_the_rule_the_op_stays_whole(run_opt):
    result = run_opt("--pass-pipeline=jogak-propagate", text=BITCAST)
    assert 'jogak.sharding = ["[_, _]"]' in bitcast_line(result.stdout)


def bitcast_line(text: str) -> str:
    return next(line for line in text.splitlines() if "tensor.bitcast" in line)


def test_file_plugin_needs_no_installation(run_opt):
    result = run_opt(f"--load-plugin={FOLDER / 'jogak_example_plugin.py'}", "--help-pass=example-count-ops")
    assert "op: str, default linalg.generic" in result.stdout


def test_two_packages_with_one_plugin_name(run_opt, installed, tmp_path):
    twin = copy_package(tmp_path / "twin", jogak_example_plugin="jogak-second-plugin")
    shutil.move(twin / "jogak_example_plugin.py", twin / "second.py")
    project = (twin / "pyproject.toml").read_text(encoding="utf-8").replace("jogak_example_plugin", "second")
    (twin / "pyproject.toml").write_text(project, encoding="utf-8")
    found = install(twin, tmp_path / "site")
    both = {"PYTHONPATH": os.pathsep.join([installed["PYTHONPATH"], found["PYTHONPATH"]])}
    result = run_opt("--list-passes", env=both)
    assert result.returncode == 1
    assert "plug-in 'example' is defined by both" in result.stderr
    assert "jogak-example-plugin 1.0" in result.stderr
    assert "jogak-second-plugin 1.0" in result.stderr
    assert "Traceback" not in result.stderr


MODEL = """
func.func @main(%a: tensor<8x4xf32> {jogak.name = "a", jogak.role = "input"})
    -> (tensor<8x4xi32> {jogak.name = "bits", jogak.role = "output"}) {
  %0 = tensor.bitcast %a : tensor<8x4xf32> to tensor<8x4xi32>
  return %0 : tensor<8x4xi32>
}
"""


def test_rule_is_used_by_jogak_compile(installed, tmp_path):
    (tmp_path / "model.mlir").write_text(MODEL, encoding="utf-8")
    words = ["compile", "model.mlir", "--mesh", "data=2", "--shard", "a=[data, _]", "-o", "out"]
    command = [sys.executable, "-m", "jogak.cli.main", *words]
    environment = {**os.environ, **installed}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    device = (tmp_path / "out" / "device.mlir").read_text(encoding="utf-8")
    assert "tensor.bitcast" in device
    assert "tensor<4x4xf32> to tensor<4x4xi32>" in device
    assert "shard.all_gather" not in device
