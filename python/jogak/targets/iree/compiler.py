"""Running `iree-compile`, once for each distinct module."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from jogak.errors import JogakError
from jogak.targets.iree.backend import Backend

FLAGS = "JOGAK_IREE_FLAGS"
"""Environment variable with more flags for `iree-compile`."""
CACHE = "JOGAK_CACHE"
"""Environment variable with the folder of compiled modules; `off` for none."""
_HINT = "pip install 'jogak[iree]'"
_COMMON = ("--iree-input-demote-f64-to-f32=false",)
_TO_STREAM = "--compile-to=stream"
"""Up to where IREE has decided which ops run together and where their values lie."""
_FUNCTION = "util.func public @"
_ALLOCATED = re.compile(r"stream\.resource\.alloca .*\{%c(\d+)\} =>")
_SHOWN = 6


def require_compiler() -> str:
    """The version of IREE's compiler.

    Raises:
        JogakError: it is not installed.
    """
    try:
        found = version("iree-base-compiler")
        version("iree-base-runtime")
    except PackageNotFoundError as error:
        raise JogakError(f"the target iree needs {error.name}, which is not installed", hint=_HINT) from None
    return found


def compile_module(text: str, backend: Backend) -> bytes:
    """Compile a module, or take it from the cache of earlier compilations.

    Args:
        text: MLIR.

    Raises:
        JogakError: IREE is not installed, or cannot compile it.
    """
    return _kept(text, [*backend.flags, *_COMMON, *shlex.split(os.environ.get(FLAGS, ""))])


def transients(text: str, backend: Backend) -> list[int]:
    """The bytes that IREE takes for the intermediate values of each function while it runs.

    Args:
        text: MLIR.

    Raises:
        JogakError: IREE is not installed, or cannot read the module.
    """
    flags = [*backend.flags, *_COMMON, *shlex.split(os.environ.get(FLAGS, "")), _TO_STREAM]
    functions = _kept(text, flags).decode().split(_FUNCTION)[1:]
    return [sum(map(int, _ALLOCATED.findall(each))) for each in functions]


def _kept(text: str, flags: list[str]) -> bytes:
    """What `iree-compile` makes of a module, from the cache where it is there."""
    found = require_compiler()
    key = "\n".join([found, _machine() if "--iree-llvmcpu-target-cpu=host" in flags else "", *flags, text])
    path = _cached(hashlib.sha256(key.encode()).hexdigest())
    if path is not None and path.is_file():
        return path.read_bytes()
    made = _run(text, flags)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        partial.write_bytes(made)
        partial.replace(path)
    return made


def _machine() -> str:
    """What `host` means on this machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags"))}))


def _cached(digest: str) -> Path | None:
    given = os.environ.get(CACHE)
    if given == "off":
        return None
    home = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jogak"
    return home / "iree" / f"{digest}.vmfb"


def _run(text: str, flags: list[str]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="jogak-iree-") as name:
        source, made = Path(name) / "segments.mlir", Path(name) / "segments.vmfb"
        source.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [_program(), str(source), *flags, "-o", str(made)], capture_output=True, text=True, check=False
        )
        if done.returncode or not made.is_file():
            raise JogakError(
                f"IREE cannot compile the program: {_reason(done.stderr)}",
                where="iree-compile",
                hint=f"segments.mlir of --target iree with the flags {' '.join(flags)} reproduces it",
            )
        return made.read_bytes()


def _program() -> str:
    beside = Path(sys.executable).with_name("iree-compile")
    found = str(beside) if beside.is_file() else shutil.which("iree-compile")
    if found is None:
        raise JogakError("the program iree-compile is not there", hint=_HINT)
    return found


def _reason(errors: str) -> str:
    lines = [line for line in errors.splitlines() if "error:" in line]
    return "\n".join(line[:300] for line in (lines or errors.splitlines())[:_SHOWN])
