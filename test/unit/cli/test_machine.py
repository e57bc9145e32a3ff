"""`jogak machine`, and the machine in what `jogak compile` writes and says."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from jogak.cli.main import main

MLP = "zoo:mlp?layers=2&width=8&features=8&classes=4&batch=4"
TINY = """
name = "tiny"
description = "a hundred bytes a device, two nodes of one device"
sources = ["assumed"]
[device]
memory_bytes = 100
memory_bandwidth = inf
[device.flops]
f32 = 1e9
[[levels]]
name = "node"
size = 1
bandwidth = 1e9
latency = 0
[[levels]]
name = "network"
size = 2
bandwidth = 1e6
latency = 1e-3
"""


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


def test_list_names_every_preset_and_the_default(capsys):
    code, out, err = run(capsys, "machine", "list")
    assert (code, err) == (0, "")
    names = [line.split()[0] for line in out.splitlines()]
    assert names == sorted(names)
    assert {"a100-80g", "tpu-v5e", "cpu"} <= set(names)
    assert [line.split()[0] for line in out.splitlines() if line.endswith("(the default)")] == ["a100-80g"]


def test_show_prints_numbers_levels_and_sources(capsys):
    code, out, _ = run(capsys, "machine", "show", "v100-p3.16xlarge")
    assert code == 0
    assert "17179869184 bytes" in out
    assert "of 8: ring, 1.5e+11 bytes/s" in out
    assert "Alpa (arXiv 2201.12023)" in out


def test_show_with_a_mesh_prints_formulas(capsys):
    code, out, _ = run(capsys, "machine", "show", "a100-80g", "--mesh", "data=4,model=4,one=1")
    assert code == 0
    assert "  data=4: 2 on 'node', 2 on 'network'" in out
    assert "  one=1: a single device" in out
    assert "    all_reduce     hierarchical" in out


def test_validate(capsys, tmp_path):
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    assert run(capsys, "machine", "validate", str(file))[:2] == (
        0,
        f"{file}: a valid machine file, 'tiny' with 2 devices\n",
    )


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("show", "a100"), 1, "unknown machine 'a100'\n  hint: did you mean 'a100-"),
        (("show", "cpu", "--mesh", "data=x"), 1, "cannot read 'data=x' as a mesh axis"),
        (("validate", "none.toml"), 1, "none.toml: there is no such machine file"),
        (("lst",), 2, "No such command 'lst'"),
        ((), 2, "Missing command"),
    ],
)
def test_mistakes(capsys, words, code, expected):
    found, out, err = run(capsys, "machine", *words)
    assert (found, out) == (code, "")
    assert expected in err


def test_validate_tells_the_first_mistake(capsys, tmp_path):
    file = tmp_path / "tiny.toml"
    file.write_text(TINY.replace("memory_bytes", "memory_byte"))
    code, out, err = run(capsys, "machine", "validate", str(file))
    assert (code, out) == (1, "")
    assert err.startswith(f"jogak: error: {file}: unknown key 'memory_byte' in table [device]")
    assert "did you mean 'memory_bytes'?" in err


def compiled(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> tuple[dict[str, object], str]:
    code, _, err = run(capsys, "compile", MLP, "--mesh", "data=2", "--shard", "x=[data, _]", "-o", str(folder), *words)
    assert code == 0, err
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8")), err


def test_the_manifest_echoes_the_default_machine(capsys, tmp_path, root):
    manifest, err = compiled(capsys, tmp_path / "out")
    jsonschema.validate(manifest, json.loads((root / "docs" / "manifest.schema.json").read_text(encoding="utf-8")))
    machine = manifest["predicted"]["machine"]
    assert (machine["name"], machine["cost_model"], machine["memory_bytes"]) == ("a100-80g", "roofline", 80 * 2**30)
    assert machine["flops"]["bf16"] == pytest.approx(0.7 * 312e12)
    assert [link["level"] for link in machine["axes"]["data"]] == ["node"]
    assert "memory" not in err


def test_a_program_that_does_not_fit_is_a_warning_with_bytes(capsys, tmp_path, root):
    file = tmp_path / "my machine.toml"
    file.write_text(TINY)
    manifest, err = compiled(capsys, tmp_path / "out", "--machine", str(file))
    jsonschema.validate(manifest, json.loads((root / "docs" / "manifest.schema.json").read_text(encoding="utf-8")))
    peak = manifest["predicted"]["peak_memory_bytes"]
    assert peak > 100
    assert f"the predicted peak memory of {peak} bytes" in err
    assert "more than the 100 bytes" in err
    assert "machine 'tiny'" in err
    assert manifest["warnings"] == [err.strip()]
    machine = manifest["predicted"]["machine"]
    assert machine["memory_bandwidth"] is None
    assert [link["level"] for link in machine["axes"]["data"]] == ["network"]
    assert manifest["configuration"]["machine"] == str(file)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--machine", "a100_80g"), "unknown machine 'a100_80g'\n  hint: did you mean 'a100-80g'?"),
        (("--cost-model", "rooflin"), "unknown cost model 'rooflin'\n  hint: did you mean 'roofline'?"),
    ],
)
def test_compile_refuses_unknown_names(capsys, tmp_path, words, expected):
    code, _, err = run(capsys, "compile", MLP, "--mesh", "data=2", "-o", str(tmp_path / "out"), *words)
    assert code == 1
    assert expected in err
    assert not (tmp_path / "out").exists()


def test_compile_refuses_a_mesh_that_the_machine_cannot_hold(capsys, tmp_path):
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    words = ("compile", MLP, "--mesh", "data=4", "--machine", str(file), "-o", str(tmp_path / "out"))
    code, _, err = run(capsys, *words)
    assert code == 1
    assert "needs 4 devices, machine 'tiny' has 2: 1 (node) x 2 (network)" in err
