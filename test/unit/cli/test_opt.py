"""`jogak-opt` as a command: exit codes, streams, files, start-up."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from jogak.cli import opt
from jogak.cli.opt_driver import split_input

MODULE = "func.func @main(%a: i32) -> i32 {\n  return %a : i32\n}\n"


def test_stdin_to_stdout(run_opt):
    result = run_opt("--pass-pipeline=cse", text=MODULE)
    assert result.returncode == 0
    assert result.stdout.startswith("module {\n  func.func @main")
    assert result.stderr == ""


def test_output_file_is_written_whole_or_not_at_all(run_opt, tmp_path):
    target = tmp_path / "out.mlir"
    assert run_opt("-o", str(target), text="func.func @f() -> i32 {\n return\n}").returncode == 1
    assert list(tmp_path.iterdir()) == []
    assert run_opt("-o", str(target), text=MODULE).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.mlir"]
    assert "func.func @main" in target.read_text(encoding="utf-8")


def test_what_is_not_a_regular_file_is_written_to_and_not_replaced(run_opt, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert run_opt("-o", str(pipe), text=MODULE).returncode == 0
        assert os.read(reader, 1000).startswith(b"module {")
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_error_names_file_and_line(run_opt, tmp_path):
    path = tmp_path / "bad.mlir"
    path.write_text("\nfunc.func @f() -> i32 {\n  return %x : i32\n}\n", encoding="utf-8")
    result = run_opt(str(path))
    assert result.returncode == 1
    assert result.stdout == ""
    assert f"{path}:3: error: use of undeclared SSA value name" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--mlir-tming"], 2, "did you mean '--mlir-timing'?"),
        (["--pass-pipeline"], 2, "expected one argument"),
        (["--mlir-output-format=xml"], 2, "invalid choice: 'xml'"),
        (["--verify-each=perhaps"], 2, "cannot read 'perhaps' as true or false"),
        (["none.mlir"], 1, "none.mlir: cannot read the file"),
        (["-o", "/no/such/folder/x.mlir"], 1, "cannot write the file"),
        (["--pass-pipeline=@none.txt"], 1, "none.txt: cannot read the file"),
        (["--load-plugin=none.py"], 1, "none.py: no such plug-in file"),
        (["--help-pass=cze"], 1, "did you mean 'cse'?"),
    ],
)
def test_mistakes(run_opt, words, code, message):
    result = run_opt(*words, text=MODULE)
    assert result.returncode == code
    assert message in result.stderr
    assert "hint: " in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_debug_shows_the_traceback(run_opt):
    result = run_opt("--debug", "none.mlir")
    assert result.returncode == 1
    assert "Traceback" in result.stderr


def test_a_bug_leaves_a_reproducer(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(opt, "parse_arguments", lambda words: 1 / 0)
    source = tmp_path / "in.mlir"
    source.write_text(MODULE, encoding="utf-8")
    assert opt.main([str(source)]) == 3
    assert "ZeroDivisionError" in capsys.readouterr().err
    (folder,) = tmp_path.glob("jogak-bug-*")
    assert {path.name for path in folder.iterdir()} == {"command.txt", "traceback.txt", "versions.txt", "in.mlir"}


def test_interrupt(monkeypatch, capsys):
    def interrupt(words):
        raise KeyboardInterrupt

    monkeypatch.setattr(opt, "parse_arguments", interrupt)
    assert opt.main([]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_starts_without_torch():
    code = (
        "import io, sys; from jogak.cli.opt import main; sys.stdin = io.StringIO('');"
        "code = main(['--pass-pipeline=cse,jogak-strip-asserts']); sys.exit(code or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_lists_passes_without_loading_solvers():
    code = (
        "import contextlib, io, sys; from jogak.cli.opt import main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as told: code = main(['--list-passes'])\n"
        "assert 'jogak-rematerialize' in told.getvalue()\n"
        "sys.exit(code or not {'numba', 'scipy'}.isdisjoint(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_timing_json(run_opt):
    result = run_opt("--pass-pipeline=cse", "--mlir-timing", "--mlir-output-format=json", text=MODULE)
    rows = {row["name"]: row["wall"] for row in json.loads(result.stderr)}
    assert list(rows) == ["Context", "Parser", "cse", "Output", "Rest", "Total"]
    assert rows["Total"]["percentage"] == 100.0
    assert rows["cse"]["duration"] <= rows["Total"]["duration"]


def test_split_keeps_line_numbers():
    chunks = split_input("a\n// -----\nb\n// -----\n\nc\n")
    assert chunks == ["a\n", "\n\nb\n", "\n\n\n\n\nc\n"]
    assert split_input("a\n") == ["a\n"]


def test_split_runs_every_part_and_fails_when_one_does(run_opt):
    bad = "func.func @bad() -> i32 {\n  return\n}\n"
    result = run_opt("--split-input-file", text=f"{MODULE}// -----\n{bad}// -----\n{MODULE}")
    assert result.returncode == 1
    assert result.stdout.count("func.func @main") == 2
    assert "<stdin>:6: error" in result.stderr
