"""Measures the compiler on models of the zoo: time of each phase and the peak memory of the process.

`python -m jogak.testing.bench [CASE ...]` prints one JSON object a case on stdout; without names it runs every case.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from jogak.errors import EXIT_OK, EXIT_USER, unknown_name

CASES: dict[str, tuple[str, ...]] = {
    "mlp": ("zoo:mlp", "--train", "adamw", "--mesh", "data=2"),
    "resnet50": ("zoo:resnet", "--train", "sgd", "--mesh", "data=4"),
    "gpt2-124m": ("zoo:gpt2?batch=8&sequence=1024", "--train", "adamw", "--mesh", "data=2,model=2"),
}


def measure(case: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Compile one model in a process of its own.

    Returns:
        `case`, `exit_code`, `seconds` (wall time from start to end), `peak_memory_bytes` of the process, and `phases`
        (name to seconds) where the compilation succeeded.
    """
    with tempfile.TemporaryDirectory() as name:
        output = Path(name) / "out"
        command = [sys.executable, "-m", "jogak.cli.main", "compile", *arguments, "-o", str(output)]
        start = perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        row = {
            "case": case,
            "exit_code": os.waitstatus_to_exitcode(status),
            "seconds": round(perf_counter() - start, 2),
            "peak_memory_bytes": usage.ru_maxrss * 1024,
        }
        manifest = output / "manifest.json"
        if manifest.is_file():
            phases = json.loads(manifest.read_text(encoding="utf-8"))["phases"]
            row["phases"] = {phase["name"]: phase["seconds"] for phase in phases}
        return row


def main(names: Sequence[str]) -> int:
    """Measure the named cases, or all of them."""
    unknown = [name for name in names if name not in CASES]
    if unknown:
        print(f"bench: error: {unknown_name('case', unknown[0], CASES)}", file=sys.stderr)
        return EXIT_USER
    rows = []
    for name in names or CASES:
        rows.append(measure(name, CASES[name]))
        print(json.dumps(rows[-1]), flush=True)
    return EXIT_OK if all(row["exit_code"] == EXIT_OK for row in rows) else EXIT_USER


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
