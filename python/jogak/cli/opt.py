"""`jogak-opt`: runs a pass pipeline on MLIR text, with the conventions of `mlir-opt`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from jogak.cli.guard import guarded
from jogak.errors import UsageError, nearest

PROGRAM = "jogak-opt"
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    files = [Path(word) for word in words if word.endswith((".mlir", ".py"))]
    return guarded([PROGRAM, *words], lambda: _run(words), inputs=files, debug="--debug" in words)


def _run(words: Sequence[str]) -> int:
    options = parse_arguments(words)
    from jogak.cli import opt_driver  # MLIR is loaded only when the command line is right

    return opt_driver.run(options)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"{PROGRAM} --help shows the options")


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UsageError: an option is unknown or lacks its value.
    """
    parser = build_parser()
    options, rest = parser.parse_known_args(words)
    if rest:
        known = [option for action in parser._actions for option in action.option_strings]
        close = nearest(rest[0].partition("=")[0], known)
        hint = f"did you mean {close!r}?" if close else f"{PROGRAM} --help shows the options"
        raise UsageError(f"unknown argument {rest[0]!r}", hint=hint)
    return options


def build_parser() -> argparse.ArgumentParser:
    """The command line of `jogak-opt`."""
    parser = _Parser(PROGRAM, description="Run MLIR and Jogak passes on MLIR text.", allow_abbrev=False)
    parser.add_argument("input", nargs="?", default="-", help="the .mlir file; - for stdin (default)")
    parser.add_argument("-o", dest="output", default="-", metavar="FILE", help="where to write; - for stdout (default)")
    parser.add_argument("--debug", action="store_true", help="let errors through with their traceback")
    _add_pipeline(parser)
    _add_input(parser)
    _add_printing(parser)
    _add_timing(parser)
    return parser


def _add_pipeline(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("passes")
    group.add_argument("--pass-pipeline", default="", metavar="TEXT", help="the pipeline, or @FILE that holds it")
    group.add_argument("--dump-pass-pipeline", action="store_true", help="print the pipeline on stderr")
    group.add_argument("--list-passes", action="store_true", help="print every pass and exit")
    group.add_argument("--help-pass", metavar="NAME", help="print what a pass does and its options, and exit")
    group.add_argument("--load-plugin", action="append", default=[], metavar="SOURCE", help="a .py file or a module")
    group.add_argument("--verify-each", type=_truth, default=True, metavar="BOOL", help="verify after every pass")


def _add_input(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("input and tests")
    group.add_argument("--split-input-file", action="store_true", help="treat the parts between // ----- one by one")
    group.add_argument("--verify-diagnostics", action="store_true", help="match diagnostics with expected-* comments")
    group.add_argument("--verify-roundtrip", action="store_true", help="check that printing loses nothing")
    group.add_argument("--allow-unregistered-dialect", action="store_true", help="accept ops of unknown dialects")
    group.add_argument("--show-dialects", action="store_true", help="print the known dialects and exit")


def _add_printing(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("printing")
    group.add_argument("--mlir-print-ir-before", type=_names, default=frozenset(), metavar="PASS,...")
    group.add_argument("--mlir-print-ir-before-all", action="store_true")
    group.add_argument("--mlir-print-ir-after", type=_names, default=frozenset(), metavar="PASS,...")
    group.add_argument("--mlir-print-ir-after-all", action="store_true")
    group.add_argument("--mlir-print-ir-after-change", action="store_true", help="only where a pass changed something")
    group.add_argument("--mlir-print-ir-after-failure", action="store_true", help="only where a pass failed")
    group.add_argument("--mlir-print-ir-module-scope", action="store_true", help="accepted: the module is always whole")
    group.add_argument("--mlir-print-ir-tree-dir", type=Path, metavar="DIR", help="one numbered file for each print")
    group.add_argument("--mlir-print-debuginfo", action="store_true", help="print source locations")
    group.add_argument(
        "--mlir-elide-elementsattrs-if-larger",
        type=int,
        default=16,
        metavar="N",
        help="print constants with more elements as ... (default 16); -1 prints all, so that the text can be read back",
    )


def _add_timing(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("timing")
    group.add_argument("--mlir-timing", action="store_true", help="print the time of every pass on stderr")
    group.add_argument("--mlir-output-format", choices=("text", "json"), default="text", help="of the timing report")


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTH:
        raise argparse.ArgumentTypeError(f"cannot read {text!r} as true or false")
    return _TRUTH[text.lower()]


def _names(text: str) -> frozenset[str]:
    return frozenset(part for part in text.split(",") if part)


if __name__ == "__main__":
    sys.exit(main())
