"""Finds MLIR's registered passes by probing, for the table `jogak/ir/mlir_passes.json`.

Every string in MLIR's shared libraries that could be a pass name is offered to the pipeline parser, which knows. Where
a pass can run is tried in child processes, since MLIR answers some of the mistakes by aborting. Descriptions come from
the help text of `torch-mlir-opt`, which lists a part of the passes.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch_mlir
from torch_mlir.passmanager import PassManager

from jogak.ir import mlir_passes
from jogak.ir.context import new_context
from jogak.ir.pipeline import Nest, PassCall, parse_pipeline

_NAME = re.compile(rb"[a-z0-9-]*[a-z][a-z0-9-]*(?=\0)")
_HELP_LINE = re.compile(r"^(?P<indent> +)--(?P<name>[a-z0-9-]+)(?:=\S+)? +- *(?P<about>.*)$")
_RESTRICTED = re.compile(r"restricted to '([^']+)'")
_PASS_INDENT = 6

Table = dict[str, dict[str, Any]]


def probe() -> Table:
    """The table: for each pass `anchor`, `about` and `options` (name to default and description)."""
    told = read_help(_tool_help())
    expansions = _registered(_candidates() | told.keys())
    return {
        name: {
            "anchor": _anchor(name),
            "about": told.get(name, {}).get("about", ""),
            "options": _options(name, expansion, told.get(name, {}).get("options", {})),
        }
        for name, expansion in sorted(expansions.items())
    }


def read_help(text: str) -> dict[str, dict[str, Any]]:
    """Passes in the help text of an `mlir-opt`: name to `about` and `options`."""
    found: dict[str, dict[str, Any]] = {}
    current: dict[str, Any] | None = None
    inside = False
    for line in text.splitlines():
        inside = (inside or line == "    Passes:") and not re.match(r" {0,2}--", line)
        match = _HELP_LINE.match(line) if inside else None
        if match is None:
            continue
        if len(match["indent"]) == _PASS_INDENT:
            current = found[match["name"]] = {"about": match["about"].strip(), "options": {}}
        elif current is not None:
            current["options"][match["name"]] = match["about"].strip()
    return found


def _tool_help() -> str:
    tool = Path(sys.executable).with_name("torch-mlir-opt")
    return subprocess.run([str(tool), "--help"], check=True, capture_output=True, text=True).stdout


def _candidates() -> set[str]:
    """Strings in the libraries that look like pass names, and all their tails, since linkers merge equal tails."""
    strings: set[str] = set()
    for library in Path(next(iter(torch_mlir.__path__))).glob("_mlir_libs/*.so*"):
        strings.update(found.decode() for found in _NAME.findall(library.read_bytes()))
    return {text[at:] for text in strings for at in range(len(text)) if text[at].isalpha()}


def _registered(candidates: Iterable[str]) -> dict[str, str]:
    """The candidates that MLIR knows, each with the pipeline that it stands for."""
    found = {}
    with new_context():
        for name in candidates:
            try:
                found[name] = str(PassManager.parse(f"any({name})"))
            except ValueError:
                continue
    return found


def _anchor(name: str) -> str | None:
    """The only op that a pass runs on, or None."""
    for anchor in ("builtin.module", "func.func"):
        match = _RESTRICTED.search(_answer(f"{anchor}({name})"))
        if match:
            return match[1]
    return None


def _answer(pipeline: str) -> str:
    """What MLIR says about a pipeline, from a child process that may abort."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writable, 2)
        faulthandler.disable()  # a test runner turns it on, and an abort is an answer here
        try:
            PassManager.parse(pipeline, new_context())
        except ValueError as error:
            os.write(2, str(error).encode())
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable, encoding="utf-8", errors="replace") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return answer


def _options(name: str, expansion: str, told: dict[str, str]) -> dict[str, tuple[str | None, str]]:
    defaults: dict[str, str | None] = dict.fromkeys(told)
    tree = parse_pipeline(expansion)
    for element in tree.elements if tree.anchor == "builtin.module" else ():
        for call in element.elements if isinstance(element, Nest) else ():
            if isinstance(call, PassCall) and call.name == name:
                defaults |= dict(call.options)
    return {key: (default, told.get(key, "")) for key, default in sorted(defaults.items())}


def main() -> int:
    """Write the table into the source tree."""
    rows = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in probe().items()]
    path = Path(mlir_passes.__file__).with_name(mlir_passes.DATA_FILE)
    path.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
