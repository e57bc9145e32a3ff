"""A multi-layer perceptron that classifies vectors."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from jogak.zoo.entry import Entry


@dataclass(frozen=True)
class Config:
    """`layers` linear layers: `features` to `width` to ... to `classes`."""

    layers: int = 4
    width: int = 1024
    features: int = 784
    classes: int = 10
    batch: int = 64


class MLP(nn.Module):
    """Linear layers with ReLU between them, `[b, features]` to `[b, classes]`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        sizes = [config.features, *[config.width] * (config.layers - 1), config.classes]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            x = layer(functional.relu(x) if number else x)
        return x


def build(config: Config) -> Entry:
    """The model and one batch of vectors."""
    x = torch.randn(config.batch, config.features)
    return Entry(MLP(config), (x,), loss="cross_entropy", bounds={"target": config.classes})
