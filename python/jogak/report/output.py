"""The output folder, written so that it is either complete or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from jogak.errors import JogakError
from jogak.ir.module import print_module
from jogak.report.manifest import MANIFEST, build_manifest, dump

if TYPE_CHECKING:
    from jogak.compiler import Compilation


def check_target(folder: Path, *, force: bool) -> None:
    """Raise early when the folder cannot be written or would overwrite something that is not ours.

    Raises:
        JogakError: it exists and is not an output of `jogak compile`, or it is one and `force` is not given.
    """
    if folder.is_file():
        raise JogakError("is a file", where=str(folder), hint="give the name of a folder with -o")
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MANIFEST).is_file():
            raise JogakError("the folder is not empty and not an output of Jogak", where=str(folder), hint="choose another")
        if not force:
            raise JogakError("the folder holds an earlier output", where=str(folder), hint="--force replaces it")
    parent = folder.absolute().parent
    if not parent.is_dir():
        raise JogakError("the folder above it does not exist", where=str(folder), hint=f"make {parent} first")
    if not os.access(parent, os.W_OK):
        raise JogakError("the folder above it cannot be written", where=str(folder), hint="choose another with -o")


def write_output(made: Compilation, folder: Path) -> None:
    """Write the modules, the weights and, last, the manifest: into a folder beside it that then takes its name."""
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.absolute().parent))
    work.chmod(0o755)
    try:
        (work / "program.mlir").write_text(print_module(made.program, elide=None, locations=True), encoding="utf-8")
        if made.device is not None:
            (work / "device.mlir").write_text(print_module(made.device, elide=None, locations=True), encoding="utf-8")
        if made.weights is not None:
            from jogak.ingress.weights import write_weights

            (work / "weights").mkdir()
            write_weights(made.weights, work / "weights" / "parameters.safetensors")
        (work / MANIFEST).write_text(dump(build_manifest(made)), encoding="utf-8")
        _replace(work, folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _replace(work: Path, folder: Path) -> None:
    """Give `work` the name of `folder`; what was there goes only when the new one is complete."""
    if not folder.exists():
        work.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.absolute().parent))
    folder.rename(old / "output")
    work.rename(folder)
    shutil.rmtree(old)
