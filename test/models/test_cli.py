"""The way of a newcomer, with the installed commands in processes of their own: compile, explain, run, compare."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).parent / "jogak")
GPT = "zoo:gpt2?layers=2&width=32&heads=4&vocab=64&sequence=16&context=16&batch=4"
MEGATRON = """
[[strategy]]
shard = { tokens = "[data, _]", target = "[data, _]" }
[[strategy]]
shard = { "blocks.*.attn.qkv.weight" = "[model, _]", "blocks.*.mlp.up.weight" = "[model, _]" }
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *words], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("cli")
    (work / "megatron.toml").write_text(MEGATRON, encoding="utf-8")
    words = ("--train", "adamw", "--mesh", "data=2,model=2", "--constraints", "megatron.toml", "-o", "out")
    made = run(work, "compile", GPT, *words)
    assert made.returncode == 0, made.stderr
    assert made.stderr == ""
    assert made.stdout.splitlines()[0] == f"{GPT} for 4 devices (data=2,model=2) -> out"
    return work


def test_two_reductions_a_layer_and_direction(folder):
    told = run(folder, "explain", "out").stdout
    for name, part in [
        ("attn.proj", "forward"),
        ("mlp.down", "forward"),
        ("attn.qkv", "backward"),
        ("mlp.up", "backward"),
    ]:
        pattern = rf"blocks\.\{{0,1\}}\.{re.escape(name)}: all_reduce on model, \S+ KiB each, 2 times\n.*{part}"
        assert re.search(pattern, told), (name, told)
    manifest = json.loads((folder / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["predicted"]["collectives"]["all_reduce"]["by_axis"]["model"]["count"] == 8


def test_check_passes(folder):
    ran = run(folder, "run", "out", "--check")
    assert ran.returncode == 0, ran.stdout
    assert ran.stderr == ""
    assert "collectives as promised" in ran.stdout
    assert "equal PyTorch eager" in ran.stdout


def test_explain_names_the_file_of_the_constraint(folder):
    told = run(folder, "explain", "out", "blocks.1.mlp.down.weight").stdout
    assert "given by megatron.toml:5 'blocks.*.mlp.up.weight=[model, _]" in told


def test_reader_that_goes_away_is_no_error(folder):
    ran = subprocess.run(
        f"'{COMMAND}' explain out | head -n 1", cwd=folder, shell=True, capture_output=True, text=True, check=False
    )
    assert ran.stdout == "arguments:\n"
    assert ran.stderr == ""


def listen() -> None:
    """Take interrupts, which a process that was started in the background of a shell ignores."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_interrupt_ends_with_130_and_leaves_nothing(tmp_path):
    words = [COMMAND, "compile", "zoo:gpt2?layers=4", "--train", "adamw", "--mesh", "data=2", "-o", "out"]
    process = subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listen
    )
    wait_for_torch(process.pid)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert out == ""
    assert err == "jogak: interrupted\n"
    assert list(tmp_path.iterdir()) == []


def wait_for_torch(pid: int) -> None:
    """Until the process has loaded torch, and so is at work inside the frame of the command."""
    maps = Path(f"/proc/{pid}/maps")
    while "libtorch_cpu" not in maps.read_text(encoding="utf-8"):
        time.sleep(0.05)
