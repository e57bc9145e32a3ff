"""Runs the measurement on processes of this machine."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from datetime import date
from pathlib import Path

import torch

from jogak.probe.machine import Host, machine_file
from jogak.probe.measurement import CollectiveTime, KernelTime
from jogak.targets.distributed.launch import finish, torchrun

_RANK = "jogak.probe.rank"


def probe(ranks: int, seconds: float, scale: float, timeout: float) -> str:
    """Measure this machine with a number of ranks; returns the text of its machine file.

    Args:
        ranks: processes, each with one thread.
        seconds: of each measurement.
        scale: of all sizes; 1 for sizes of real layers.
        timeout: seconds that everything may take.

    Raises:
        JogakError: a process failed.
    """
    with tempfile.TemporaryDirectory(prefix="jogak-probe-") as name:
        output = Path(name) / "found.json"
        options = ["--output", str(output), "--seconds", str(seconds), "--scale", str(scale)]
        finish(torchrun(ranks, "-m", _RANK, *options), Path(name), timeout)
        found = json.loads(output.read_text(encoding="utf-8"))
    kernels = [KernelTime(**each) for each in found["kernels"]]
    collectives = [CollectiveTime(**each) for each in found["collectives"]]
    return machine_file(this_host(), ranks, kernels, collectives, found["share"])


def this_host() -> Host:
    """What the measured machine is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = platform.node().partition(".")[0] or "host"
    return Host(name, _processor(), cores, memory, torch.__version__, date.today().isoformat())


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine()).replace('"', "'")
