"""Values for the arguments of a compiled program: the model's own, the user's, or drawn from the seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jogak.configuration import Configuration
from jogak.ingress.reference import initial_values
from jogak.ingress.weights import read_weights
from jogak.report.manifest import file_of
from jogak.runtime.types import dtype_of

_PARAMETER_SCALE = 0.02


def load_values(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Tensor]:
    """A whole value for every argument: from the folder's files, or from the seed; optimizer state is zero.

    Raises:
        JogakError: a file of the folder, or the model itself, is missing.
    """
    values = seeded_values(manifest)
    for name in manifest["weights"]["files"]:
        values |= read_weights(file_of(folder, name))
    if manifest["reference"] == "program":
        values = {each["name"]: values[each["name"]].reshape(_shape(each)) for each in manifest["arguments"]}
    return values


def seeded_values(manifest: Mapping[str, Any]) -> dict[str, Tensor]:
    """A whole value for every argument from the seed, as if the folder held no files.

    Raises:
        JogakError: the model is missing.
    """
    if manifest["reference"] != "pytorch":
        return drawn_values(manifest["arguments"], manifest["weights"]["seed"])
    configuration = Configuration.from_json(manifest["configuration"])
    return initial_values(configuration.model, configuration.options)


def _shape(argument: Mapping[str, Any]) -> list[int]:
    """The shape of an argument in the model."""
    return list(argument.get("logical_shape", argument["shape"]))


def drawn_values(arguments: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Tensor]:
    """Values for a program of which only the interface is known.

    Optimizer state is zero and integers are 0 or 1, which every table can be read with; parameters are small, buffers
    positive (a variance must be), other floats normally distributed.
    """
    generator = torch.Generator().manual_seed(seed)
    return {each["name"]: _drawn(each, generator) for each in arguments}


def _drawn(argument: Mapping[str, Any], generator: torch.Generator) -> Tensor:
    shape, dtype, role = _shape(argument), dtype_of(argument["element"]), argument["role"]
    if role == "optimizer_state":
        return torch.zeros(shape, dtype=dtype)
    if not dtype.is_floating_point:
        return torch.randint(0, 2, shape, generator=generator).to(dtype)
    if role == "buffer":
        return (0.5 + torch.rand(shape, generator=generator)).to(dtype)
    scale = _PARAMETER_SCALE if role == "parameter" else 1.0
    return (scale * torch.randn(shape, generator=generator)).to(dtype)
