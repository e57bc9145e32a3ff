"""Training steps on real processes beside PyTorch on one device, for the tests of every target."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from jogak.compiler import compile_configuration
from jogak.configuration import Configuration
from jogak.ingress.options import ImportOptions, Optimizer, OptimizerKind
from jogak.ingress.reference import run_reference
from jogak.report.manifest import load_manifest
from jogak.report.output import write_output
from jogak.runtime.values import load_values
from jogak.targets.distributed import launch
from jogak.targets.target import Execution, Request, Target

STEPS = 10
_RATE = 1e-3
_TIMEOUT = 300


@dataclass(frozen=True)
class Training:
    """A model, its optimizer, and how it is split.

    Attributes:
        model: MODEL argument.
        optimizer: kind.
        mesh: `data=2,model=2`.
        shard: constraints.
    """

    model: str
    optimizer: OptimizerKind
    mesh: str
    shard: tuple[str, ...]

    def compile(self, folder: Path, target: str, rate: float = _RATE) -> Path:
        """Write the output folder."""
        options = ImportOptions(Optimizer(self.optimizer, learning_rate=rate))
        constraints = tuple((each, "test") for each in self.shard)
        write_output(compile_configuration(Configuration(self.model, self.mesh, options, constraints, target)), folder)
        return folder


BATCH = ("tokens=[data, _]", "target=[data, _]")
IMAGES = ("images=[data, _, _, _]", "target=[data]")
MEGATRON = (
    "blocks.*.attn.qkv.weight=[model, _]",
    "blocks.*.attn.proj.weight=[_, model]",
    "blocks.*.mlp.up.weight=[model, _]",
    "blocks.*.mlp.down.weight=[_, model]",
)
GATED = ("blocks.*.mlp.up.weight=[model, _]", "blocks.*.mlp.gate.weight=[model, _]")
EXPERTS = ("blocks.*.moe.up=[expert, ?, ?]", "blocks.*.moe.down=[expert, ?, ?]")
GPT = "zoo:gpt2?layers=2&heads=4&width=32&vocab=64&context=16&sequence=16&batch=4"
LLAMA = "zoo:llama?layers=2&heads=4&kv_heads=2&width=32&hidden=64&vocab=64&sequence=16&batch=4"
MOE = "zoo:moe?layers=1&heads=4&width=32&hidden=64&experts=4&vocab=64&sequence=8&batch=4"
RESNET = "zoo:resnet?depth=18&width=8&image=64&classes=16&batch=8"  # fewer elements make batch norm chaotic
UNET = "zoo:unet?levels=2&width=8&groups=4&image=16&batch=4"

TRAININGS: Mapping[str, Training] = {
    "gpt2-data": Training(GPT, "adamw", "data=2", BATCH),
    "gpt2-megatron": Training(GPT, "adamw", "data=2,model=2", BATCH + MEGATRON),
    "llama": Training(LLAMA, "adamw", "data=2,model=2", BATCH + GATED),
    "moe": Training(MOE, "adamw", "expert=4", EXPERTS),
    "resnet-2": Training(RESNET, "sgd", "data=2", IMAGES),
    "resnet-4": Training(RESNET, "sgd", "data=4", IMAGES),
    "resnet-rows": Training(RESNET, "sgd", "data=2,rows=2", ("images=[data, _, rows, _]", "target=[data]")),
    "unet-rows": Training(UNET, "adamw", "rows=2", ("images=[_, _, rows, _]", "target=[_, _, rows, _]")),
    "unet-tiles": Training(
        UNET, "adamw", "rows=2,columns=2", ("images=[_, _, rows, columns]", "target=[_, _, rows, columns]")
    ),
}


def ten_steps(folder: Path, target: Target, precision: str = "declared") -> tuple[Execution, list[float]]:
    """Train on the processes of a target, then with PyTorch eager from the same values.

    Args:
        precision: of both.

    Returns:
        What ran, and PyTorch's losses; the collectives of a step are checked against the promise.
    """
    manifest = load_manifest(folder)
    values = load_values(folder, manifest)
    done = target.execute(folder, manifest, values, Request(steps=STEPS, precision=precision, timeout=_TIMEOUT))
    assert done.collectives == manifest["predicted"]["collectives"]
    return done, _eager(manifest, values, torch.float64 if precision == "f64" else None)


def _eager(manifest: Mapping[str, Any], values: dict[str, torch.Tensor], dtype: torch.dtype | None) -> list[float]:
    asked = Configuration.from_json(manifest["configuration"])
    losses = []
    for _ in range(STEPS):
        results = run_reference(asked.model, asked.options, values, dtype=dtype)
        losses.append(float(results["loss"]))
        values = {name: results.get(name, value).reshape(value.shape) for name, value in values.items()}
    return losses


def started(folder: Path, processes: int, *arguments: str) -> list[float]:
    """The losses that `torchrun run.py` prints."""
    words = launch.command(folder, processes, arguments)
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return [float(line.split()[3]) for line in done.stdout.splitlines() if line.startswith("step ")]
