"""The command line of `run.py`: every process that torchrun starts comes here."""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from . import faults
from .errors import CommunicationError, RunError
from .measure import profile
from .mesh import Mesh
from .pulse import Pulse
from .step import MANIFEST, Step, open_step, read_manifest, read_program

TIMEOUT = 60.0
"""Seconds that one collective may take."""
_LOADS = count()


@dataclass
class Place:
    """This process among the others.

    Attributes:
        store: of the rendezvous.
        rank: of this process.
        world: how many there are.
        device: where it computes.
    """

    store: Store
    rank: int
    world: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def options(about: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, help="of the compilation; the one beside run.py by default")
    parser.add_argument("--values", type=Path, action="append", help="safetensors file with whole values of arguments")
    parser.add_argument("--steps", type=int, default=1, help="how often to run the program")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help="seconds that one collective may take")
    parser.add_argument("--checkpoint", type=Path, help="folder of checkpoints; continues from the newest one")
    parser.add_argument("--save-every", type=int, default=0, metavar="N", help="write a checkpoint every N steps")
    parser.add_argument("--profile", action="store_true", help="measure the steps; the report goes to --results")
    parser.add_argument("--compile", action="store_true", help="torch.compile what lies between collectives")
    parser.add_argument("--results", type=Path, help="folder for the results of the last step, one file a rank")
    given = parser.parse_args(arguments)
    if given.profile and given.compile:
        parser.error("--profile times the lines of device.py, which --compile replaces: drop one of them")
    if given.profile and given.save_every:
        parser.error("--profile runs measured steps, and writes no checkpoints: drop --profile, or --save-every")
    return given


def choose_device(program: ModuleType) -> torch.device:
    """The CUDA device of this process, or the CPU where there is none or the program is for the CPU."""
    return torch.device("cpu") if getattr(program, "ON_CPU", False) else local_device()


def local_device() -> torch.device:
    """The CUDA device of this process, or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def enter(timeout: float) -> tuple[Place, Pulse]:
    """Meet the processes that torchrun started: this one ends with it, and shows from now on that it lives.

    Args:
        timeout: seconds that the others have for coming.
    """
    faults.end_with_parent()
    place = Place(*next(rendezvous("env://", timeout=timedelta(seconds=timeout))))
    try:
        pulse = Pulse(place.rank, place.world)
        pulse.start()
    except Exception as error:
        end_with(place, error)
    return place, pulse


def end_with(place: Place, error: BaseException) -> NoReturn:
    """End this rank because of an error, with a message that names the cause: its own, or what the others told."""
    rank = place.rank
    if isinstance(error, CommunicationError):
        problem = str(error)
        signal.signal(signal.SIGTERM, lambda *_: faults.fail(rank, problem))
        said = faults.others_said(place.store, rank, place.world)
        faults.fail(rank, f"{problem}\n  {said}" if said else problem)
    message = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
    place.store.set(f"failed/{rank}", message)
    faults.fail(rank, f"error: {message}")


def join(folder: Path, program: ModuleType, place: Place, timeout: float) -> Mesh:
    """Make the process groups of the mesh.

    Args:
        folder: holds the files that all ranks must have alike.
        program: its `device.py`.

    Raises:
        RunError: the number of processes is wrong, or another rank has another plan.
    """
    devices = torch.Size(program.MESH.values()).numel()
    if place.world != devices:
        axes = ",".join(f"{axis}={size}" for axis, size in program.MESH.items())
        raise RunError(f"there are {place.world} processes, but the mesh {axes} has {devices} devices: start {devices}")
    store = PrefixStore(f"load/{next(_LOADS)}", place.store)  # all ranks load the same programs in one order
    faults.agree(store, place.rank, place.world, faults.fingerprint(folder), timeout)
    if not dist.is_initialized():
        dist.init_process_group(
            "nccl" if place.device.type == "cuda" else "gloo",
            store=PrefixStore("program", place.store),
            rank=place.rank,
            world_size=place.world,
            timeout=timedelta(seconds=timeout),
        )
    return Mesh(program.MESH, program.GROUPS, place.rank, timeout)


def run(folder: Path, given: argparse.Namespace, place: Place) -> None:
    """Run all steps on this rank.

    Raises:
        RunError: the number of processes is wrong, or a file or a value is missing.
        CommunicationError: a collective failed.
    """
    path = given.manifest or folder / MANIFEST
    manifest = read_manifest(path)
    program = read_program(folder)
    place.device = choose_device(program)
    torch.set_default_device(place.device)
    mesh = join(folder, program, place, given.timeout)
    files = given.values or [path.parent / name for name in manifest["weights"]["files"]]
    step = open_step(folder, program, manifest, files, mesh, place.device)
    if given.compile:
        told = step.compile()
        if place.rank == 0:
            print(told, flush=True)
    done = step.restore(given.checkpoint) if given.checkpoint else 0
    measured = profile(step, given.steps) if given.profile else None
    losses = [] if measured else repeat(step, range(done, given.steps), given.checkpoint, given.save_every)
    if given.results is not None:
        save(given.results, step, losses, measured)
    mesh.meet()
    dist.destroy_process_group()


def repeat(step: Step, steps: range, checkpoint: Path | None = None, every: int = 0) -> list[float]:
    """Run the program several times on the same inputs; rank 0 prints a line for each.

    Args:
        steps: numbers of the steps.
        checkpoint: folder for checkpoints.
        every: how many steps lie between them; 0 writes none.

    Returns:
        The loss of each step; nothing where the program has none.
    """
    loss = next((entry["name"] for entry in step.manifest["results"] if entry["role"] == "loss"), None)
    losses: list[float] = []
    for number in steps:
        start = time.perf_counter()
        results = step()
        if loss is not None:
            losses.append(float(results[loss]))
        if step.mesh.rank == 0:
            told = "" if loss is None else f"  loss {losses[-1]:.9g}"
            print(f"step {number}{told}  {(time.perf_counter() - start) * 1e3:.1f} ms", flush=True)
        if checkpoint is not None and every and (number + 1) % every == 0:
            step.save(checkpoint, number + 1)
    return losses


def save(folder: Path, step: Step, losses: Sequence[float], measured: Mapping[str, Any] | None = None) -> None:
    """Write this rank's results, numbered, and what it did."""
    held = {str(number): value.detach().cpu().clone().contiguous() for number, value in enumerate(step.results)}
    save_file(held, str(folder / f"rank{step.mesh.rank}.safetensors"))
    counts = [[kind, list(axes), count] for (kind, axes), count in step.mesh.calls.items()]
    report = {"losses": list(losses), "collectives": counts, "profile": measured}
    (folder / f"rank{step.mesh.rank}.json").write_text(json.dumps(report), encoding="utf-8")


def main(folder: Path, about: str) -> None:
    """Run as a process of torchrun.

    Args:
        folder: holds `device.py` and the manifest.
        about: what `--help` says.
    """
    given = options(about)
    if "RANK" not in os.environ:
        faults.fail(0, "error: this is a program for several processes: start it with torchrun --nproc-per-node N")
    place, pulse = enter(given.timeout)
    try:
        run(folder, given, place)
        pulse.end()
    except Exception as error:
        end_with(place, error)
