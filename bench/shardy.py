"""Collectives against Shardy's, on the same programs with the same shardings of inputs and results.

    python bench/shardy.py [WORD ...] [--check] [--machine FILE] [--environment DIR]

Shardy runs in an environment of its own, which is made there when it is missing (a virtual environment with JAX, which
nothing else of Jogak uses). WORDs choose programs by name; `--check` also runs each of ours on all devices and whole.

Shardy has no prices, so ours are those of `bench/machines/bytes.toml` by default, where only bytes cost; on a real
machine a small value may be gathered in one message instead of moved in two.

Prints a line for each program: bytes that a device receives in collectives on both sides, in one definition (see
`jogak.testing.shardy`), their ratio, and the collectives. Exit 1 when one of ours moves more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jogak.testing.shardy import compare

PEER = Path(__file__).parent / "peer_shardy" / "peer.py"
DEFAULT = Path(tempfile.gettempdir()) / "jogak-shardy"
BYTES = Path(__file__).parent / "machines" / "bytes.toml"
PACKAGES = ("jax==0.10.2", "jaxlib==0.10.2")


def interpreter(folder: Path) -> Path:
    """The Python of the environment, which is made when it is missing."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"making an environment with {', '.join(PACKAGES)} in {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def entries(python: Path, words: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What the peer prints, program by program."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    command = [str(python), str(PEER), *words]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    yield from map(json.loads, done.stdout.splitlines())


def told(collectives: Mapping[str, tuple[int, int]]) -> str:
    return " + ".join(f"{count} {kind}" for kind, (count, _) in collectives.items()) or "none"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="parts of names of programs; all of them by default")
    parser.add_argument("--check", action="store_true", help="run ours on all devices and compare with the whole")
    parser.add_argument("--environment", type=Path, default=DEFAULT, help="folder of the environment with JAX")
    parser.add_argument("--machine", default=str(BYTES), help="preset or machine file that prices our collectives")
    options = parser.parse_args()
    print(f"{'program':44} {'ours':>9} {'shardy':>9} {'ratio':>6}  collectives: ours | shardy")
    counts = {"fewer": 0, "as many": 0, "more": 0}
    wrong = 0
    for entry in entries(interpreter(options.environment), options.words):
        each = compare(entry, check=options.check, machine=options.machine)
        ours, theirs = each.bytes
        counts["more" if ours > theirs else "fewer" if ours < theirs else "as many"] += 1
        ratio = f"{ours / theirs:.2f}" if theirs else ("1.00" if not ours else "inf")
        wrong += bool(each.wrong)
        line = f"{each.name:44} {ours:9} {theirs:9} {ratio:>6}  {told(each.ours)} | {told(each.theirs)}"
        print(f"{line}  {each.wrong}".rstrip(), flush=True)
    print(f"{sum(counts.values())} programs: " + ", ".join(f"{n} with {word} bytes" for word, n in counts.items()))
    if options.check:
        print(f"{wrong} differ from the whole program")
    return 1 if counts["more"] or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
