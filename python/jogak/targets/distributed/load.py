"""`jogak.load`: an output folder as a function, in a script that torchrun starts."""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from jogak.errors import JogakError
from jogak.report.manifest import load_manifest
from jogak.targets.distributed.rank.errors import RunError
from jogak.targets.distributed.rank.main import TIMEOUT, Place, choose_device, join
from jogak.targets.distributed.rank.mesh import Mesh
from jogak.targets.distributed.rank.step import Step, open_step, read_program

__all__ = ["Step", "load"]


def load(
    folder: str | Path, *, values: Sequence[str | Path] = (), timeout: float = TIMEOUT, compile: bool = False
) -> Step:
    """The program of an output folder as a function of its inputs; its state lives in it and is donated to each call.

    ```
    step = jogak.load("out")                            # under torchrun, on every rank
    loss = step(tokens=batch, target=labels)["loss"]    # whole inputs; each rank takes its part
    step.save("checkpoints", 1)
    ```

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
        step = open_step(path, manifest, files, *_join(path, timeout))
        if compile:
            step.compile()
        return step
    except RunError as error:
        raise JogakError(str(error), where=str(folder)) from error


def _join(path: Path, timeout: float) -> tuple[Mesh, torch.device]:
    device = choose_device(path)
    if "RANK" in os.environ:
        place = Place(*next(rendezvous("env://", timeout=timedelta(seconds=timeout))))
        place.device = device
        atexit.register(_leave)
        return join(path, place, timeout), device
    program = read_program(path)
    devices = torch.Size(program.MESH.values()).numel()
    if devices != 1:
        raise RunError(f"the program is for {devices} processes: start the script with torchrun")
    return Mesh(program.MESH, program.GROUPS, 0, timeout), device


def _leave() -> None:
    """End the threads of the process groups before the interpreter goes; they abort the process otherwise."""
    if dist.is_initialized():
        dist.destroy_process_group()
