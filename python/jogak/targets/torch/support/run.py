"""Runs the program beside this file on every device of its mesh. Start it with torchrun:

    torchrun --nproc-per-node 4 run.py --values weights.safetensors --values inputs.safetensors --steps 10

It needs torch and safetensors. Every rank reads only its own slices of the values. Results that are the next value of
an argument go back in at the next step. Processes compute on CUDA devices (NCCL) where there are some, else on the CPU
(gloo).
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

HERE = Path(__file__).resolve().parent
FAILED = 1
_PATIENCE = 2.0
"""Seconds that a rank waits for news of the others after a collective failed."""
_PARENT_DIED = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


class RunError(Exception):
    """The program cannot run as it was started."""


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, default=HERE.parent / "manifest.json", help="of the compilation")
    parser.add_argument("--values", type=Path, action="append", help="safetensors file with whole values of arguments")
    parser.add_argument("--steps", type=int, default=1, help="how often to run the program")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds that one collective may take")
    parser.add_argument("--results", type=Path, help="folder for the results of the last step, one file a rank")
    return parser.parse_args(arguments)


def run(given: argparse.Namespace, store: dist.Store, rank: int, world: int) -> None:
    """Run all steps on this rank.

    Raises:
        RunError: the number of processes is wrong, or a file or a value is missing.
        CommunicationError: a collective failed.
    """
    program = importlib.import_module("program")
    manifest = read_manifest(given.manifest)
    devices = torch.Size(program.MESH.values()).numel()
    if world != devices:
        axes = ",".join(f"{axis}={size}" for axis, size in program.MESH.items())
        raise RunError(f"there are {world} processes, but the mesh {axes} has {devices} devices: start {devices}")
    device = choose_device()
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=dist.PrefixStore("program", store),
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=given.timeout),
    )
    torch.set_default_device(device)
    communication = importlib.import_module("communication")
    mesh = communication.Mesh(program.MESH, program.GROUPS, rank, given.timeout)
    files = given.values or [given.manifest.parent / name for name in manifest["weights"]["files"]]
    arguments = load_arguments(manifest["arguments"], files, program, mesh.position, device)
    constants = load_file(HERE / "constants.safetensors", str(device)) if program.CONSTANTS else {}
    with torch.no_grad():
        losses, results = repeat(given.steps, program, manifest, arguments, constants, mesh)
    if given.results is not None:
        save(given.results, rank, results, losses, mesh.calls)
    dist.barrier()
    dist.destroy_process_group()


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the compilation.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: the manifest cannot be read: {error}") from None
    return manifest


def choose_device() -> torch.device:
    """The CUDA device of this process, or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def load_arguments(
    described: Sequence[Mapping[str, Any]],
    files: Sequence[Path],
    program: ModuleType,
    position: Mapping[str, int],
    device: torch.device,
) -> list[Tensor]:
    """This device's part of every argument; optimizer state that no file holds is zero.

    Raises:
        RunError: a file is missing or damaged, or no file holds an argument.
    """
    with ExitStack() as stack:
        where: dict[str, Any] = {}
        for path in files:
            opened = stack.enter_context(opening(path))
            where |= dict.fromkeys(opened.keys(), opened)
        loaded = []
        for entry, (name, dtype, shape) in zip(described, program.ARGUMENTS, strict=True):
            if name in where:
                part = load_part(where[name], entry, program.MESH, position)
            elif entry["role"] == "optimizer_state":
                part = torch.zeros(shape, dtype=dtype)
            else:
                names = ", ".join(map(str, files)) or "no file"
                raise RunError(f"no value for the argument {name!r} in {names}: give a safetensors file with --values")
            loaded.append(part.to(device, dtype))
    return loaded


@contextmanager
def opening(path: Path) -> Iterator[Any]:
    """An open safetensors file.

    Raises:
        RunError: it is missing or damaged.
    """
    if not path.is_file():
        raise RunError(f"{path}: there is no such file of values")
    try:
        file = safe_open(str(path), framework="pt")
    except SafetensorError as error:
        raise RunError(f"{path}: the file of values is damaged: {error}") from None
    with file as opened:
        yield opened


def load_part(
    file: Any, entry: Mapping[str, Any], mesh: Mapping[str, int], position: Mapping[str, int]
) -> Tensor:
    """One device's part of a value; only that is read, unless the file holds the value in another shape.

    Raises:
        RunError: the value has another number of elements.
    """
    name, shape = entry["name"], entry["shape"]
    window = tuple(window_of(entry["sharding"], shape, mesh, position))
    found = list(file.get_slice(name).get_shape())
    if torch.Size(found).numel() != torch.Size(shape).numel():
        raise RunError(f"the value of {name!r} has shape {found}, but the program takes {shape}")
    if not shape or found != shape:
        whole: Tensor = file.get_tensor(name)
        return whole.reshape(shape)[window].clone()
    part: Tensor = file.get_slice(name)[window]
    return part


def window_of(
    sharding: str, shape: Sequence[int], mesh: Mapping[str, int], position: Mapping[str, int]
) -> Iterator[slice]:
    """For each dimension what a device holds; a sharding is written `[data, _, model]`."""
    for size, dim in zip(shape, sharding.strip("[]").split(","), strict=False):
        index, parts = 0, 1
        for axis in dim.split():
            if axis != "_":
                index = index * mesh[axis] + position[axis]
                parts *= mesh[axis]
        yield slice(index * size // parts, (index + 1) * size // parts)


def repeat(
    steps: int,
    program: ModuleType,
    manifest: Mapping[str, Any],
    arguments: list[Tensor],
    constants: Mapping[str, Tensor],
    mesh: Any,
) -> tuple[list[float], list[Tensor]]:
    """Run the program several times.

    Returns:
        The loss of each step (nothing where the program has none), and the results of the last step.
    """
    described = manifest["results"]
    next_of = {entry["updates"]: number for number, entry in enumerate(described) if "updates" in entry}
    loss = next((number for number, entry in enumerate(described) if entry["role"] == "loss"), None)
    fixed = {number: value for number, value in enumerate(arguments) if number not in next_of}
    losses: list[float] = []
    results: list[Tensor] = []
    for step in range(steps):
        if step:
            arguments = [
                fixed[number] if number in fixed else results[next_of[number]]
                for number in range(len(program.ARGUMENTS))
            ]
        results.clear()
        start = time.perf_counter()
        results = program.main(arguments, constants, mesh)
        if loss is not None:
            losses.append(float(results[loss]))
        if mesh.rank == 0:
            told = "" if loss is None else f"  loss {losses[-1]:.9g}"
            print(f"step {step}{told}  {(time.perf_counter() - start) * 1e3:.1f} ms", flush=True)
    return losses, results


def save(folder: Path, rank: int, results: Sequence[Tensor], losses: Sequence[float], calls: Mapping[Any, int]) -> None:
    """Write this rank's results, numbered, and what it did."""
    held = {str(number): value.detach().cpu().clone().contiguous() for number, value in enumerate(results)}
    save_file(held, str(folder / f"rank{rank}.safetensors"))
    counts = [[kind, list(axes), count] for (kind, axes), count in calls.items()]
    report = {"losses": list(losses), "collectives": counts}
    (folder / f"rank{rank}.json").write_text(json.dumps(report), encoding="utf-8")


def others_said(store: dist.Store, rank: int, world: int) -> str:
    """What the other ranks told before they ended, and which of them told nothing."""
    told, silent = [], []
    try:
        store.set(f"failed/{rank}", "")
        time.sleep(_PATIENCE)
        for other in range(world):
            if not store.check([f"failed/{other}"]):
                silent.append(str(other))
            elif text := store.get(f"failed/{other}").decode():
                told.append(f"rank {other} failed: {text}")
    except RuntimeError:
        return "the rendezvous is gone too"
    if not told and silent:
        told.append(f"no word from rank {', '.join(silent)}: dead, hanging or far behind")
    return "; ".join(told)


def fail(rank: int, message: str) -> NoReturn:
    """End with a message; without the clean-up that could wait for other ranks."""
    print(f"jogak: rank {rank}: {message}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(FAILED)


def end_with_parent() -> None:
    """Let the kernel end this process when the one that started it is gone (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DIED, signal.SIGKILL)


def main() -> None:
    """Run as a process of torchrun."""
    end_with_parent()
    given = options()
    if "RANK" not in os.environ:
        fail(0, "this is a program for several processes: start it with torchrun --nproc-per-node N")
    store, rank, world = next(dist.rendezvous("env://", timeout=timedelta(seconds=given.timeout)))
    communication = importlib.import_module("communication")
    try:
        run(given, store, rank, world)
    except communication.CommunicationError as error:
        signal.signal(signal.SIGTERM, lambda *_: fail(rank, str(error)))
        said = others_said(store, rank, world)
        fail(rank, f"{error}\n  {said}" if said else str(error))
    except Exception as error:
        message = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
        store.set(f"failed/{rank}", message)
        fail(rank, f"error: {message}")


if __name__ == "__main__":
    main()
