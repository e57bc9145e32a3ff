"""Vision transformer (Dosovitskiy et al. 2020): patches by a strided convolution, a class token, pre-norm blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from jogak.zoo.entry import Entry
from jogak.zoo.layers import FusedAttention, Mlp, PreNormBlock
from jogak.zoo.options import require_divisible


@dataclass(frozen=True)
class Config:
    """Sizes; the defaults are ViT-B/16 at 224 x 224."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"large": {"layers": 24, "heads": 16, "width": 1024}}

    layers: int = 12
    heads: int = 12
    width: int = 768
    image: int = 224
    patch: int = 16
    channels: int = 3
    classes: int = 1000
    batch: int = 32

    def __post_init__(self) -> None:
        require_divisible("width", self.width, "heads", self.heads)
        require_divisible("image", self.image, "patch", self.patch)


class ViT(nn.Module):
    """Images `[b, channels, image, image]` to logits `[b, classes]`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.width
        self.patch = nn.Conv2d(config.channels, width, config.patch, stride=config.patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.pos = nn.Parameter(torch.empty(1, (config.image // config.patch) ** 2 + 1, width))
        self.blocks = nn.ModuleList(
            PreNormBlock(FusedAttention(width, config.heads, causal=False), Mlp(width, 4 * width), width, eps=1e-6)
            for _ in range(config.layers)
        )
        self.ln_f = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, config.classes)
        self._init()

    def _init(self) -> None:
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)
        fan_in = self.patch.weight[0].numel()
        nn.init.trunc_normal_(self.patch.weight, std=math.sqrt(1 / fan_in))
        nn.init.normal_(self.pos, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch(images).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls.expand(images.shape[0], -1, -1), patches), dim=1) + self.pos
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.head(self.ln_f(x)[:, 0])
        return out


def build(config: Config) -> Entry:
    """The model and one batch of images."""
    images = torch.randn(config.batch, config.channels, config.image, config.image)
    return Entry(ViT(config), (images,), loss="cross_entropy", bounds={"target": config.classes})
