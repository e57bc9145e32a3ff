"""`jogak.load`: an output folder as a function, in a script that torchrun starts."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType, TracebackType

import torch
import torch.distributed as dist

from jogak.errors import JogakError
from jogak.report.manifest import load_manifest
from jogak.targets.distributed.rank.errors import RunError
from jogak.targets.distributed.rank.main import TIMEOUT, Place, choose_device, end_with, enter, join
from jogak.targets.distributed.rank.mesh import Mesh
from jogak.targets.distributed.rank.pulse import Pulse
from jogak.targets.distributed.rank.step import Step, open_step, read_program

__all__ = ["Step", "load"]

_entered: list[Place] = []


def load(
    folder: str | Path, *, values: Sequence[str | Path] = (), timeout: float = TIMEOUT, compile: bool = False
) -> Step:
    """The program of an output folder as a function of its inputs; its state lives in it and is donated to each call.

    ```
    step = jogak.load("out")                            # under torchrun, on every rank
    loss = step(tokens=batch, target=labels)["loss"]    # whole inputs; each rank takes its part
    step.save("checkpoints", 1)
    ```

    Under torchrun the process then ends as those of `run.py` do: with torchrun, when another rank hangs, or with an
    error that the script lets through, of which the other ranks learn.

    Args:
        folder: output of `jogak compile --target torch`.
        values: safetensors files with values of parameters; those in the folder by default.
        timeout: seconds that one collective may take.
        compile: whether torch.compile's compiler makes what lies between collectives.

    Raises:
        JogakError: the folder is for another target, a file or a compiler is missing, or there are too few processes.
    """
    path = Path(folder).resolve()
    manifest = load_manifest(path)
    files = [Path(each) for each in values] or [path / name for name in manifest["weights"]["files"]]
    try:
        program = read_program(path)
        step = open_step(path, program, manifest, files, *_join(path, program, timeout))
        if compile:
            step.compile()
        return step
    except RunError as error:
        raise JogakError(str(error), where=str(folder)) from error


def _join(path: Path, program: ModuleType, timeout: float) -> tuple[Mesh, torch.device]:
    device = choose_device(program)
    if "RANK" in os.environ:
        place = replace(_enter(timeout), device=device)
        try:
            return join(path, program, place, timeout), device
        finally:
            _end_on_errors(place)
    devices = torch.Size(program.MESH.values()).numel()
    if devices != 1:
        raise RunError(f"the program is for {devices} processes: start the script with torchrun")
    return Mesh(program.MESH, program.GROUPS, 0, timeout), device


def _enter(timeout: float) -> Place:
    """This process among those of torchrun; it enters once, however many programs the script loads."""
    if not _entered:
        place, pulse = enter(timeout)
        _entered.append(place)
        atexit.register(_leave, pulse)
    return _entered[0]


def _end_on_errors(place: Place) -> None:
    """Let an error that the script lets through end this rank; in front of the hook of torch.distributed, which holds
    back what is printed until it is done.
    """
    if getattr(sys.excepthook, "func", None) is not _end:
        sys.excepthook = partial(_end, place, sys.excepthook)


def _end(
    place: Place, show: Callable[..., object], kind: type[BaseException], error: BaseException, trace: TracebackType
) -> None:
    """What an error that the script lets through does: it is shown, told to the other ranks, and ends this one."""
    show(kind, error, trace)
    end_with(place, error)


def _leave(pulse: Pulse) -> None:
    """End the threads of the process groups before the interpreter goes; they abort the process otherwise."""
    if dist.is_initialized():
        dist.destroy_process_group()
    pulse.end()
