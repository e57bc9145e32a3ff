"""The frame around every command: exceptions become messages and exit codes, and a bug of ours leaves a reproducer."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from jogak.errors import EXIT_INTERNAL, EXIT_INTERRUPTED, JogakError

_PACKAGES = ("jogak", "torch", "torch-mlir", "numpy")


def guarded(
    command: Sequence[str], action: Callable[[], int], *, inputs: Iterable[Path] = (), debug: bool = False
) -> int:
    """Run a command and turn what escapes from it into an exit code.

    Args:
        command: the command line, program first.
        action: does the work and returns the exit code.
        inputs: files that a reproducer needs; read only after a bug.
        debug: let exceptions through, with their traceback.

    Returns:
        The action's own code; 1 or 2 for a `JogakError`, 3 for a bug of ours, 130 for an interrupt.
    """
    try:
        code = action()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print(f"{command[0]}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader went away. Python flushes stdout once more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_INTERRUPTED
    except JogakError as error:
        if debug:
            raise
        print(f"{command[0]}: {error.report()}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if debug:
            raise
        folder = write_reproducer(command, inputs, error)
        kind = type(error).__name__
        print(f"{command[0]}: this is a bug of ours: {kind}: {error}\n  reproducer: {folder}", file=sys.stderr)
        return EXIT_INTERNAL


def write_reproducer(command: Sequence[str], inputs: Iterable[Path], error: BaseException) -> Path:
    """Write what is needed to see a bug again into a new temporary folder: command, inputs, versions, traceback."""
    folder = Path(tempfile.mkdtemp(prefix="jogak-bug-"))
    (folder / "command.txt").write_text(shlex.join(command) + "\n", encoding="utf-8")
    (folder / "traceback.txt").write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    (folder / "versions.txt").write_text("".join(_versions()), encoding="utf-8")
    for path in inputs:
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def _versions() -> Iterable[str]:
    yield f"python {sys.version}\n"
    for package in _PACKAGES:
        try:
            yield f"{package} {version(package)}\n"
        except PackageNotFoundError:
            yield f"{package} is not installed\n"
