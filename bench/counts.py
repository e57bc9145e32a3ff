"""Collectives of small training steps with shardings given by the user, against the published numbers.

    python bench/counts.py [CHECK ...] [--found]

With `--found` nothing is given: the search finds the shardings under Alpa's cost assumptions.

Prints a line for each check: the published counts, ours as the simulator counted them, and the largest relative error
against PyTorch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from jogak.testing.counts import CHECKS, counts_of, measure

SHORT = {"all_reduce": "AR", "reduce_scatter": "RS", "all_gather": "AG", "all_to_all": "A2A"}


def told(counts: Mapping[str, int]) -> str:
    return " + ".join(f"{count} {SHORT[kind]}" for kind, count in counts.items()) or "none"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", help="names of checks; all of them by default")
    parser.add_argument("--found", action="store_true", help="let the search find the shardings")
    options = parser.parse_args()
    chosen = options.checks
    machine = str(Path(__file__).parent / "machines" / "alpa.toml") if options.found else ""
    failures = 0
    print(f"{'check':11} {'published':16} {'ours':24} {'error':>9}  program")
    for check in CHECKS:
        if chosen and check.name not in chosen:
            continue
        verdict = measure(check, machine=machine)
        counts = counts_of(verdict)
        expected = check.known if options.found else check.expected
        failures += counts != expected
        mark = "" if counts == expected or options.found else f" (expected {told(check.expected)})"
        line = f"{check.name:11} {told(check.known):16} {told(counts) + mark:24} {verdict.error:9.2e}  {check.what}"
        print(line, flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
