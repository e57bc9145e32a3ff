"""Runs every check and every test suite of the project, in the environment of the interpreter that runs it.

    python test/run.py            everything
    python test/run.py --quick    without whole models and slow cases

The last line is `N passed, N failed`, summed over all suites; a tool that fails counts as one failed check. The exit
code is 0 only when nothing failed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(sys.executable).parent
COUNTS = {
    "passed": re.compile(r"(\d+) passed|^ *Passed *: *(\d+)", re.MULTILINE),
    "failed": re.compile(r"(\d+) (?:failed|errors?\b)|^ *(?:Failed|Timed Out|Unresolved) *: *(\d+)", re.MULTILINE),
}
SUMMARY_LINES = 8
COMPILE = [sys.executable, "-c", "import jogak.memory.fit, jogak.search.solve"]
"""Loading them compiles the loops of the search; two tests that begin on an empty cache would each do it."""
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile"]
PYTEST += ["--no-loadscope-reorder"]  # whole models, the longest tests, come first by name
QUICK = ["-m", "not slow", "--ignore", "test/models", "--ignore", "test/plugin"]


def run(title: str, command: list[str], lit_output: str, shown: bool = True) -> tuple[int, str]:
    """Run one tool in the source tree, showing its output as it comes; returns its exit code and the output."""
    if shown:
        print(f"== {title}: {' '.join(command)}", flush=True)
    path = os.pathsep.join([str(SCRIPTS), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "JOGAK_LIT_OUTPUT": lit_output, "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"OMP_NUM_THREADS": "1"}  # two test processes on two cores
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    lines = []
    for line in process.stdout or ():
        if shown:
            print(line, end="", flush=True)
        lines.append(line)
    return process.wait(), "".join(lines)


def count(kind: str, output: str) -> int:
    """The number of tests of a kind in the summary that ends the output of pytest or lit."""
    summary = "\n".join(output.splitlines()[-SUMMARY_LINES:])
    return sum(int(number) for match in COUNTS[kind].findall(summary) for number in match if number)


def main() -> int:
    """Run every check; returns the exit code."""
    quick = "--quick" in sys.argv[1:]
    checks = {
        "ruff": [str(SCRIPTS / "ruff"), "check", "."],
        "format": [str(SCRIPTS / "ruff"), "format", "--check", "."],
        "mypy": [str(SCRIPTS / "mypy")],
        "docs": [sys.executable, "-m", "jogak.report.docs", "--check"],
    }
    suites = {
        "lit": [str(SCRIPTS / "lit"), "-sv", str(ROOT / "test" / "lit")],
        "pytest": [*PYTEST, *(QUICK if quick else [])],
    }
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="jogak-lit-") as lit_output, ThreadPoolExecutor(1) as beside:
        results = {"machine code": run("machine code", COMPILE, lit_output)}
        # each check uses one core: they run one after the other beside lit, and are shown when it is done
        checked = {title: beside.submit(run, title, checks[title], lit_output, shown=False) for title in checks}
        results["lit"] = run("lit", suites["lit"], lit_output)
        for title, future in checked.items():
            results[title] = future.result()
            print(f"== {title}: {' '.join(checks[title])}\n{results[title][1]}", end="", flush=True)
        results["pytest"] = run("pytest", suites["pytest"], lit_output)
    for title, (code, output) in results.items():
        passed += count("passed", output) if title in suites else int(not code)
        failed += max(count("failed", output) if title in suites else 0, int(bool(code)))
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
