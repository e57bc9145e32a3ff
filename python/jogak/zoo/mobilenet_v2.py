"""MobileNetV2 (Sandler et al. 2018): inverted residuals with depthwise convolutions, ReLU6 and linear bottlenecks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from jogak.errors import JogakError
from jogak.zoo.entry import Entry

_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, output channels, number of blocks, stride of the first block."""


@dataclass(frozen=True)
class Config:
    """Sizes; `width` scales all channel counts, rounded to multiples of 8. `stages` takes fewer of the seven stages."""

    width: float = 1.0
    stages: int = 7
    image: int = 224
    channels: int = 3
    classes: int = 1000
    batch: int = 32

    def __post_init__(self) -> None:
        if self.stages > len(_STAGES):
            raise JogakError(
                f"option 'stages' is {self.stages}, but there are only {len(_STAGES)}", hint="choose fewer stages"
            )


def round_channels(channels: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `channels` that is not more than 10 % below it."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class ConvNorm(nn.Module):
    """Convolution and batch norm, with ReLU6 on request."""

    def __init__(
        self, inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        self.relu = relu
        self.conv = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.conv(x))
        return functional.relu6(y) if self.relu else y


class InvertedResidual(nn.Module):
    """Expand by 1x1, convolve each channel by itself, project by 1x1; residual where the shapes allow it."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.expand = ConvNorm(inputs, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(inner, inner, 3, stride=stride, groups=inner)
        self.project = ConvNorm(inner, outputs, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """Images `[b, channels, image, image]` to logits `[b, classes]`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        inputs = round_channels(32 * config.width)
        self.stem = ConvNorm(config.channels, inputs, 3, stride=2)
        self.blocks = nn.ModuleList()
        for expansion, channels, count, stride in _STAGES[: config.stages]:
            outputs = round_channels(channels * config.width)
            for number in range(count):
                first = stride if number == 0 else 1
                self.blocks.append(InvertedResidual(inputs, outputs, stride=first, expansion=expansion))
                inputs = outputs
        features = round_channels(1280 * max(1.0, config.width))
        self.last = ConvNorm(inputs, features, 1)
        self.head = nn.Linear(features, config.classes)
        self._init()

    def _init(self) -> None:
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out")
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.head(self.last(x).mean((2, 3)))
        return out


def build(config: Config) -> Entry:
    """The model and one batch of images."""
    images = torch.randn(config.batch, config.channels, config.image, config.image)
    return Entry(MobileNetV2(config), (images,), loss="cross_entropy", bounds={"target": config.classes})
