"""The output folder, written so that it is either complete or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from jogak.errors import JogakError
from jogak.ir.module import main_function, print_module
from jogak.registry import registry_of
from jogak.report.manifest import DEVICE, MANIFEST, MEMORY, PROGRAM, build_manifest, dump, tensor_files
from jogak.report.memory import memory_map
from jogak.report.timeline import TIMELINE, predicted_trace

if TYPE_CHECKING:
    from jogak.compiler import Compilation


def check_target(folder: Path, *, force: bool) -> None:
    """Raise early when the folder cannot be written or would overwrite something that is not ours.

    Raises:
        JogakError: it exists and is not an output of `jogak compile`, or it is one and `force` is not given.
    """
    if folder.exists() and not folder.is_dir():
        raise JogakError("is a file", where=str(folder), hint="give the name of a folder with -o")
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MANIFEST).is_file():
            raise JogakError(
                "the folder is not empty and not an output of Jogak", where=str(folder), hint="choose another"
            )
        if not force:
            raise JogakError("the folder holds an earlier output", where=str(folder), hint="--force replaces it")
    parent = folder.resolve().parent
    if not parent.is_dir():
        raise JogakError("the folder above it does not exist", where=str(folder), hint=f"make {parent} first")
    if not os.access(parent, os.W_OK):
        raise JogakError("the folder above it cannot be written", where=str(folder), hint="choose another with -o")


def write_output(made: Compilation, folder: Path) -> None:
    """Write the modules, the weights and, last, the manifest: into a folder beside it that then takes its name.

    Raises:
        JogakError: the disk is full, or a folder cannot be written.
    """
    folder = folder.resolve()
    if registry_of(made.configuration.plugins).target(made.configuration.target).needs_values:
        from jogak.targets.values import complete_values

        complete_values(made)
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        work.chmod(0o755)
        try:
            _fill(made, work)
            _replace(work, folder)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    except OSError as error:
        hint = "make room, or choose another folder with -o"
        raise JogakError(f"cannot be written: {error.strerror}", where=str(folder), hint=hint) from error


def _fill(made: Compilation, work: Path) -> None:
    registry_of(made.configuration.plugins).target(made.configuration.target).write(made, work)  # first: it may refuse
    write_text(work / PROGRAM, print_module(made.program, elide=None, locations=True))
    write_text(work / DEVICE, print_module(made.device, elide=None, locations=True))
    device = main_function(made.device).operation
    write_text(work / MEMORY, dump(memory_map(device)))
    write_text(work / TIMELINE, predicted_trace(device, made.mesh, made.cost, made.configuration.model))
    for name, values in tensor_files(made).items():
        from jogak.ingress.weights import write_weights

        write_weights(values, work / name)
    write_text(work / MANIFEST, dump(build_manifest(made)))


def write_text(path: Path, text: str) -> None:
    """Write a text file whose name appears only when it is complete.

    Raises:
        JogakError: it cannot be written there.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        hint = "choose a path in a folder that exists and can be written"
        raise JogakError(f"cannot write the file: {error.strerror}", where=str(path), hint=hint) from error


def _replace(work: Path, folder: Path) -> None:
    """Give `work` the name of `folder`; what was there goes only when the new one is complete."""
    if not folder.exists():
        work.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    folder.rename(old / "output")
    work.rename(folder)
    shutil.rmtree(old)
