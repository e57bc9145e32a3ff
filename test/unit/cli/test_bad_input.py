"""Bad input, one row a mistake: one message with place, cause and next step, the exit code, nothing else anywhere.

The commands run in an empty folder that `prepare` fills; afterwards it must hold what it held before.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

MLP = "zoo:mlp?layers=2&width=8&features=8&classes=4&batch=4"
COMPILE = ("compile", MLP, "--mesh", "data=2", "-o", "out")
MODEL = """
import torch
from torch import nn

class Unsupported(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x)

def build():
    return nn.Linear(4, 4), (torch.zeros(4, 4),)

def raises():
    depth = 3
    return depth / 0

def fails_inside():
    class Broken(nn.Module):
        def forward(self, x):
            return x @ torch.zeros(3, 3)
    return Broken(), (torch.zeros(4, 4),)

def returns_a_number():
    return 17

def no_tensor():
    return nn.Identity(), (3,)

def unsupported():
    return Unsupported(), (torch.eye(4),)

class Noisy(nn.Linear):
    def forward(self, x):
        return super().forward(torch.empty_like(x).uniform_())

def random():
    return Noisy(4, 4), (torch.zeros(4, 4),)

constant = 3
"""


class Dynamic(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def write_dynamic(path: Path) -> None:
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(Dynamic(), (torch.zeros(4, 3),), dynamic_shapes={"x": {0: batch}})
    torch.export.save(program, path)


def prepare(folder: Path, compiled: Path) -> None:
    (folder / "model.py").write_text(MODEL, encoding="utf-8")
    (folder / "syntax.py").write_text("def build(:\n", encoding="utf-8")
    (folder / "text.pt2").write_text("not a program", encoding="utf-8")
    with zipfile.ZipFile(folder / "broken.pt2", "w") as archive:
        archive.writestr("nothing", "useful")
    (folder / "a_folder").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "thesis.txt").write_text("mine", encoding="utf-8")
    (folder / "bad.toml").write_text("[shard\n", encoding="utf-8")
    (folder / "key.toml").write_text("[shards]\nx = '[data, _]'\n", encoding="utf-8")
    (folder / "bad.mlir").write_text("func.func @main(%a: tensor<4xf32>) {\n  oops\n}\n", encoding="utf-8")
    (folder / "nomain.mlir").write_text("func.func @other() {\n  return\n}\n", encoding="utf-8")
    dynamic = "func.func @main(%a: tensor<?xf32>) -> tensor<?xf32> {\n  return %a : tensor<?xf32>\n}\n"
    (folder / "dynamic.mlir").write_text(dynamic, encoding="utf-8")
    (folder / "notaplugin.py").write_text("plugin = 3\n", encoding="utf-8")
    (folder / "noplugin.py").write_text("x = 3\n", encoding="utf-8")
    shutil.copytree(compiled, folder / "good")
    for name in ("nodevice", "noweights", "badjson", "listjson", "oldschema", "lacking", "nomanifest", "badprogram"):
        shutil.copytree(compiled, folder / name)
    (folder / "nodevice" / "device.mlir").unlink()
    change(folder / "noweights", lambda manifest: manifest["weights"].update(files=["weights/parameters.safetensors"]))
    (folder / "badjson" / "manifest.json").write_text('{"schema_version": 2,', encoding="utf-8")
    (folder / "listjson" / "manifest.json").write_text("[]", encoding="utf-8")
    change(folder / "oldschema", lambda manifest: manifest.update(schema_version=0))
    change(folder / "lacking", lambda manifest: manifest.pop("mesh"))
    (folder / "nomanifest" / "manifest.json").unlink()
    (folder / "badprogram" / "program.mlir").write_text("module {", encoding="utf-8")


def change(folder: Path, edit: object) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    edit(manifest)  # type: ignore[operator]
    path.write_text(json.dumps(manifest), encoding="utf-8")


def model(name: str, *more: str) -> tuple[str, ...]:
    return ("compile", name, "--mesh", "data=2", "-o", "out", *more)


def shard(text: str, mesh: str = "data=2") -> tuple[str, ...]:
    return ("compile", MLP, "--mesh", mesh, "-o", "out", "--shard", text)


ROWS: dict[str, tuple[tuple[str, ...], int, tuple[str, ...]]] = {
    # the model
    "missing file": (model("no/nothere.pt2"), 1, ("no/nothere.pt2", "no such file", "check the path")),
    "missing file with a near name": (model("txt.pt2"), 1, ("txt.pt2", "no such file", "did you mean text.pt2?")),
    "not a .pt2": (model("text.pt2"), 1, ("text.pt2", "not a .pt2", "torch.export.save")),
    "broken .pt2": (model("broken.pt2"), 1, ("broken.pt2", "exported program", "torch.export.save")),
    "directory": (model("a_folder"), 1, ("a_folder", "directory", "a file")),
    "directory as .pt2": (model("good/"), 1, ("good", "directory", "a file")),
    "dynamic shape": (model("dynamic.pt2"), 1, ("dynamic.pt2", "x dimension 0", "without dynamic_shapes")),
    "no model at all": (model("gpt2"), 1, ("gpt2", "names no model", "zoo:NAME")),
    "unknown zoo model": (model("zoo:gtp2"), 1, ("zoo:gtp2", "unknown model", "did you mean 'gpt2'?")),
    "unknown zoo option": (model("zoo:mlp?witdh=8"), 1, ("zoo:mlp", "unknown option 'witdh'", "'width'")),
    "bad zoo value": (model("zoo:mlp?width=wide"), 1, ("zoo:mlp", "cannot be 'wide'", "expected int")),
    "negative zoo value": (model("zoo:mlp?width=-1"), 1, ("zoo:mlp", "cannot be -1", "must be positive")),
    "unreadable zoo options": (model("zoo:mlp?width"), 1, ("zoo:mlp", "cannot read the options", "NAME?option=value")),
    "unknown hf model": (model("hf:gtp2"), 1, ("hf:gtp2", "unknown", "gpt2")),
    "python file without callable": (model("model.py"), 1, ("model.py", "callable is missing", "model.py:NAME")),
    "callable not in file": (model("model.py:bild"), 1, ("model.py:bild", "unknown callable", "did you mean 'build'?")),
    "not callable": (
        model("model.py:constant"),
        1,
        ("model.py:constant", "is a int, not a callable", "return (module"),
    ),
    "callable raises": (model("model.py:raises"), 1, ("model.py:14", "ZeroDivisionError", "run it in Python")),
    "model raises": (model("model.py:fails_inside"), 1, ("model.py:19", "RuntimeError", "eager mode")),
    "returns nonsense": (model("model.py:returns_a_number"), 1, ("model.py:22", "returned (int)", "return (module")),
    "no tensor input": (model("model.py:no_tensor"), 1, ("model.py:25", "no tensor among", "return (module")),
    "syntax error": (model("syntax.py:build"), 1, ("syntax.py:1", "SyntaxError", "run it in Python")),
    "missing python file": (model("no/nothere.py:build"), 1, ("no/nothere.py", "no such file", "check the path")),
    "missing module": (
        model("nopackage.nomodule:build"),
        1,
        ("nopackage", "no module named", "package.module:callable"),
    ),
    "unsupported op": (model("model.py:unsupported"), 1, ("model.py:7", "aten._linalg_svd", "write these lines")),
    "random op": (
        model("model.py:random", "--train", "sgd", "--loss", "mse"),
        1,
        ("uniform_", "random", "torch.rand"),
    ),
    # programs that are MLIR already
    "malformed .mlir": (model("bad.mlir"), 1, ("bad.mlir:2", "custom op 'oops' is unknown", "")),
    "no @main": (model("nomain.mlir"), 1, ("nomain.mlir", "no function @main", "rename one to @main")),
    "dynamic .mlir": (
        model("dynamic.mlir"),
        1,
        ("dynamic.mlir", "arg0 has a dynamic dimension 0", "give every dimension"),
    ),
    "training of .mlir": (model("nomain.mlir", "--train", "sgd"), 1, ("nomain.mlir", "training step", "inference")),
    # the mesh
    "no mesh": (("compile", MLP, "-o", "out"), 2, ("compile", "neither --devices nor --mesh", "--mesh data=2,model=2")),
    "mesh larger than devices": (
        ("compile", MLP, "--mesh", "data=2,model=4", "--devices", "4", "-o", "out"),
        1,
        ("--mesh data=2,model=4", "8 devices, larger than --devices 4", "drop --devices"),
    ),
    "axis named twice": (
        ("compile", MLP, "--mesh", "a=2,a=2", "-o", "out"),
        1,
        ("--mesh a=2,a=2", "twice", "of its own"),
    ),
    "axis of size 0": (("compile", MLP, "--mesh", "a=0", "-o", "out"), 1, ("--mesh a=0", "size 0", "positive integer")),
    "unreadable mesh": (
        ("compile", MLP, "--mesh", "2by2", "-o", "out"),
        1,
        ("--mesh 2by2", "cannot read", "data=2,model=4"),
    ),
    "bad axis name": (("compile", MLP, "--mesh", "2a=2", "-o", "out"), 1, ("--mesh 2a=2", "not a valid", "letters")),
    "devices 0": (("compile", MLP, "--devices", "0", "-o", "out"), 2, ("--devices", "0 devices", "positive")),
    "devices not a number": (
        ("compile", MLP, "--devices", "two", "-o", "out"),
        2,
        ("--devices", "valid integer", "--help"),
    ),
    # constraints
    "pattern matches nothing": (
        shard("laiers.0.weight=[data, _]"),
        1,
        ("--shard", "matches no argument", "layers.0.weight"),
    ),
    "rank differs": (shard("x=[data]"), 1, ("--shard 'x=[data]'", "1 dimensions but 'x' has 2", "[4, 8]")),
    "unknown axis": (shard("x=[dta, _]"), 1, ("--shard 'x=[dta, _]'", "unknown mesh axis 'dta'", "'data'")),
    "axis used twice": (shard("x=[data, data]"), 1, ("--shard", "used twice", "only one dimension")),
    "unreadable spec": (shard("x=data"), 1, ("--shard 'x=data'", "cannot read", "[data, _, model]")),
    "no spec": (shard("x"), 1, ("--shard", "cannot read 'x'", "PATTERN=SPEC")),
    "more pieces than elements": (
        shard("x=[data, _]", "data=5"),
        1,
        ("--shard", "size 4 cannot be split 5 ways", "whole ('_')"),
    ),
    "constraints missing": (
        (*COMPILE, "--constraints", "no.toml"),
        1,
        ("no.toml", "no such constraints file", "check the path"),
    ),
    "constraints not TOML": ((*COMPILE, "--constraints", "bad.toml"), 1, ("bad.toml", "not valid TOML", "[shard]")),
    "constraints with unknown key": (
        (*COMPILE, "--constraints", "key.toml"),
        1,
        ("key.toml", "unknown key", "'shard'"),
    ),
    # choices
    "unknown optimizer": (
        (*COMPILE, "--train", "adamv"),
        2,
        ("--train", "unknown value 'adamv'", "did you mean 'adamw'?"),
    ),
    "unknown loss": ((*COMPILE, "--train", "sgd", "--loss", "mce"), 2, ("--loss", "unknown value 'mce'", "'mse'")),
    "unknown target": ((*COMPILE, "--target", "tpu"), 2, ("--target", "unknown target 'tpu'", "sim")),
    "unknown phase": ((*COMPILE, "--compile-to", "normalise"), 2, ("--compile-to", "'normalise'", "'normalize'")),
    "unknown precision": ((*COMPILE, "--autocast", "fp8"), 2, ("--autocast", "unknown value 'fp8'", "bf16")),
    "training without a loss": (
        model("model.py:build", "--train", "sgd"),
        1,
        ("model.py:9", "training needs a loss", "--loss cross_entropy"),
    ),
    "micro-batches of inference": (
        (*COMPILE, "--micro-batches", "2"),
        1,
        ("--micro-batches 2", "micro-batches are for training steps", "--train"),
    ),
    "micro-batches that do not divide": (
        (*COMPILE, "--train", "sgd", "--micro-batches", "3"),
        1,
        ("--micro-batches 3", "3 micro-batches do not divide the batch of 4", "take one of 1, 2, 4"),
    ),
    "micro-batches that are no number": (
        (*COMPILE, "--train", "sgd", "--micro-batches", "some"),
        2,
        ("--micro-batches", "'some' is no number", "auto"),
    ),
    "loss without training": ((*COMPILE, "--loss", "mse"), 2, ("--loss", "for training", "--train")),
    "learning rate without training": (
        (*COMPILE, "--learning-rate", "1"),
        2,
        ("--learning-rate", "training", "--train"),
    ),
    "momentum of adamw": (
        (*COMPILE, "--train", "adamw", "--momentum", "0.9"),
        2,
        ("--momentum", "adamw has no", "--betas"),
    ),
    "betas out of range": (
        (*COMPILE, "--train", "adamw", "--betas", "1", "2"),
        2,
        ("--betas", "not in [0, 1)", "0.999"),
    ),
    "negative learning rate": (
        (*COMPILE, "--train", "sgd", "--learning-rate", "-1"),
        2,
        ("--learning-rate", "-1.0 is not", "from 0"),
    ),
    # the output
    "no output": (("compile", MLP, "--mesh", "data=2"), 2, ("compile", "no output folder", "-o DIR")),
    "output exists": (("compile", MLP, "--mesh", "data=2", "-o", "good"), 1, ("good", "earlier output", "--force")),
    "output is not ours": (
        ("compile", MLP, "--mesh", "data=2", "-o", "full", "--force"),
        1,
        ("full", "not an output of Jogak", "choose another"),
    ),
    "output is a file": (
        ("compile", MLP, "--mesh", "data=2", "-o", "text.pt2"),
        1,
        ("text.pt2", "is a file", "a folder"),
    ),
    "parent of the output missing": (
        ("compile", MLP, "--mesh", "data=2", "-o", "no/such/out"),
        1,
        ("no/such/out", "above it does not exist", "make"),
    ),
    "text output is a folder": (
        ("compile", MLP, "--mesh", "data=2", "--compile-to", "import", "-o", "full"),
        1,
        ("full", "is a folder", "writes one file"),
    ),
    "text output without a folder": (
        ("compile", MLP, "--mesh", "data=2", "--compile-to", "import", "-o", "no/out.mlir"),
        1,
        ("no/out.mlir", "cannot write", "a folder that exists"),
    ),
    # run and explain
    "run on nothing": (("run", "nothere"), 1, ("nothere", "no such folder", "jogak compile")),
    "run on a file": (("run", "text.pt2"), 1, ("text.pt2", "no such folder", "jogak compile")),
    "run without a manifest": (("run", "nomanifest"), 1, ("nomanifest", "no manifest.json", "jogak compile")),
    "run on a broken manifest": (("run", "badjson"), 1, ("badjson/manifest.json", "not valid JSON", "compile")),
    "run on a manifest of another kind": (("run", "listjson"), 1, ("listjson/manifest.json", "JSON object", "compile")),
    "run on another schema": (("run", "oldschema"), 1, ("oldschema/manifest.json", "schema version 0", "compile")),
    "run on an incomplete manifest": (("run", "lacking"), 1, ("lacking/manifest.json", "lacks 'mesh'", "compile")),
    "device.mlir missing": (("run", "nodevice"), 1, ("nodevice/device.mlir", "missing", "compile the model again")),
    "weights missing": (("run", "noweights"), 1, ("noweights/weights", "missing", "compile the model again")),
    "negative tolerance": (("run", "good", "--check", "--tolerance", "-1"), 2, ("--tolerance", "-1.0", "from 0")),
    "tolerance without check": (("run", "good", "--tolerance", "1"), 2, ("--tolerance", "comparison", "--check")),
    "explain an unknown value": (("explain", "good", "layers.0.wait"), 1, ("layers.0.wait", "no such", "did you mean")),
    "explain a broken program": (("explain", "badprogram", "x"), 1, ("badprogram/program.mlir", "expected", "")),
    # plug-ins
    "plug-in missing": ((*COMPILE, "--load-plugin", "no.py"), 1, ("no.py", "no such plug-in file", "existing .py")),
    "not a plug-in": (
        (*COMPILE, "--load-plugin", "notaplugin.py"),
        1,
        ("notaplugin.py", "int is not a plug-in", "Plugin"),
    ),
    "no variable plugin": (
        ("plugins", "--load-plugin", "noplugin.py"),
        1,
        ("noplugin.py", "no variable", "plugin = Plugin"),
    ),
    # the command line
    "unknown command": (("compil", MLP), 2, ("compil", "No such command", "did you mean 'compile'?")),
    "unknown option": ((*COMPILE, "--mehs", "data=2"), 2, ("--mehs", "No such option", "did you mean '--mesh'?")),
    "unknown option in front": (("--versoin",), 2, ("--versoin", "No such option", "did you mean '--version'?")),
    "missing argument": (("run",), 2, ("run", "Missing argument", "jogak run --help")),
    "unknown model of the zoo": (("zoo", "gtp2"), 1, ("zoo:gtp2", "unknown model", "did you mean 'gpt2'?")),
}

OPT_ROWS: dict[str, tuple[tuple[str, ...], int, tuple[str, ...]]] = {
    "unknown pass": (
        ("--pass-pipeline=jogak-partitoin", "ok.mlir"),
        1,
        ("pass", "'jogak-partitoin'", "'jogak-partition'"),
    ),
    "bad option": (
        ("--pass-pipeline=jogak-partition{msh=2}", "ok.mlir"),
        1,
        ("jogak-partition", "option 'msh'", "'mesh'"),
    ),
    "bad nesting": (
        ("--pass-pipeline=func.func(jogak-partition)", "ok.mlir"),
        1,
        ("func.func", "runs on the module", "move"),
    ),
    "unreadable pipeline": (
        ("--pass-pipeline=cse,", "ok.mlir"),
        1,
        ("column 5", "expected the name of a pass", "write"),
    ),
    "malformed MLIR": (("bad.mlir",), 1, ("bad.mlir:2", "custom op 'oops' is unknown", "")),
    "missing .mlir": (("nothere.mlir",), 1, ("nothere.mlir", "cannot read", "existing file")),
    "unknown opt option": (("--mlir-tming",), 2, ("--mlir-tming", "unknown argument", "'--mlir-timing'")),
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, compiled: Path) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    prepare(folder, compiled)
    write_dynamic(folder / "dynamic.pt2")
    (folder / "ok.mlir").write_text("func.func @main() {\n  return\n}\n", encoding="utf-8")
    return folder


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts)


def check(ran, code: int, parts: tuple[str, ...], program: str) -> None:
    where, cause, step = parts
    assert ran.code == code, ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert ran.err.count("error: ") == 1, ran.err
    assert ran.err.startswith(f"{program}: ") or parts[0] == "bad.mlir:2"
    assert where in ran.err
    assert cause in ran.err
    assert step in ran.err
    assert ("hint: " in ran.err) == bool(step), ran.err


@pytest.mark.parametrize("row", ROWS)
def test_bad_input(row, filled, jogak, monkeypatch):
    words, code, parts = ROWS[row]
    monkeypatch.chdir(filled)
    before = listing(filled)
    check(jogak(*words), code, parts, "jogak")
    assert listing(filled) == before


@pytest.mark.parametrize("row", OPT_ROWS)
def test_bad_input_of_opt(row, filled, jogak_opt, monkeypatch):
    words, code, parts = OPT_ROWS[row]
    monkeypatch.chdir(filled)
    check(jogak_opt(*words), code, parts, "jogak-opt")


@pytest.mark.parametrize("row", ["unknown command", "broken .pt2"])
def test_bad_input_as_a_process(row, filled):
    words, code, parts = ROWS[row]
    command = [sys.executable, "-m", "jogak.cli.main", *words]
    result = subprocess.run(command, cwd=filled, env=os.environ, capture_output=True, text=True, check=False)
    assert result.returncode == code
    assert result.stdout == ""
    assert result.stderr.startswith("jogak: error: ")
    assert all(part in result.stderr for part in parts)
    assert "Traceback" not in result.stderr
