"""Collectives of small training steps with shardings given by the user, against the published numbers.

    python bench/counts.py [CHECK ...] [--found]

With `--found` the search finds the shardings, under the cost assumptions of the published plans; then the line says
what both plans communicate in those units. A plan with other collectives is the right one only where it costs less.

Prints a line for each check: the published counts, ours as the simulator counted them, and the largest relative error
against PyTorch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from jogak.testing.counts import CHECKS, FOUND, Found, counts_of, find, measure

LEAST = 0.999
"""A plan below this ratio is a cheaper one; Alpa's tests allow as much."""
SHORT = {"all_reduce": "AR", "reduce_scatter": "RS", "all_gather": "AG", "all_to_all": "A2A"}


def told(counts: Mapping[str, int]) -> str:
    return " + ".join(f"{count} {SHORT[kind]}" for kind, count in counts.items()) or "none"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", help="names of checks; all of them by default")
    parser.add_argument("--found", action="store_true", help="let the search find the shardings")
    options = parser.parse_args()
    return print_found(options.checks) if options.found else print_given(options.checks)


def print_given(chosen: Sequence[str]) -> int:
    failures = 0
    print(f"{'check':11} {'published':16} {'ours':24} {'error':>9}  program")
    for check in CHECKS:
        if chosen and check.name not in chosen:
            continue
        verdict = measure(check)
        counts = counts_of(verdict)
        failures += counts != check.expected
        mark = "" if counts == check.expected else f" (expected {told(check.expected)})"
        line = f"{check.name:11} {told(check.known):16} {told(counts) + mark:24} {verdict.error:9.2e}  {check.what}"
        print(line, flush=True)
    return 1 if failures else 0


def print_found(chosen: Sequence[str]) -> int:
    failures = 0
    print(
        f"{'check':9} {'published':11} {'ours':18} {'its cost':>12} {'ours':>12} {'ratio':>6} {'error':>9}  "
        f"{'verdict':38} program"
    )
    for check in FOUND:
        if chosen and check.name not in chosen:
            continue
        verdict, cost = find(check, Path(__file__).parent / "machines")
        counts, ratio = counts_of(verdict), cost / check.cost
        failures += counts != check.known and ratio >= 1
        line = f"{check.name:9} {told(check.known):11} {told(counts):18} {check.cost:12.2f} {cost:12.2f} {ratio:6.3f}"
        print(f"{line} {verdict.error:9.2e}  {judged(check, counts, ratio):38} {check.what}", flush=True)
    return 1 if failures else 0


def judged(check: Found, counts: Mapping[str, int], ratio: float) -> str:
    """What a plan is beside the published one: they may differ only where ours communicates less."""
    cheaper = f", {1 - ratio:.1%} cheaper" if ratio < LEAST else ""
    if counts == check.known:
        return f"the published counts{cheaper}"
    return f"another plan{cheaper}" if ratio < 1 else "WORSE THAN THE PUBLISHED PLAN"


if __name__ == "__main__":
    sys.exit(main())
