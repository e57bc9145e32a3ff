"""ResNet (He et al. 2015; stride in the 3x3 convolution of a bottleneck) and Wide-ResNet (Zagoruyko et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from jogak.zoo.entry import Entry

_STAGES = {
    "18": (2, 2, 2, 2),
    "34": (3, 4, 6, 3),
    "50": (3, 4, 6, 3),
    "101": (3, 4, 23, 3),
    "152": (3, 8, 36, 3),
}
_BOTTLENECK_EXPANSION = 4


@dataclass(frozen=True)
class Config:
    """Sizes; `width` is the channel count of the first stage, `widen` multiplies the inner channels of each block."""

    depth: Literal["18", "34", "50", "101", "152"] = "50"
    width: int = 64
    widen: int = 1
    image: int = 224
    channels: int = 3
    classes: int = 1000
    batch: int = 32


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv_1 = _conv(inputs, inner, 3, stride)
        self.bn_1 = nn.BatchNorm2d(inner)
        self.conv_2 = _conv(inner, outputs, 3)
        self.bn_2 = nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn_1(self.conv_1(x)))
        return functional.relu(self.bn_2(self.conv_2(y)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv_1 = _conv(inputs, inner, 1)
        self.bn_1 = nn.BatchNorm2d(inner)
        self.conv_2 = _conv(inner, inner, 3, stride)
        self.bn_2 = nn.BatchNorm2d(inner)
        self.conv_3 = _conv(inner, outputs, 1)
        self.bn_3 = nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn_1(self.conv_1(x)))
        y = functional.relu(self.bn_2(self.conv_2(y)))
        return functional.relu(self.bn_3(self.conv_3(y)) + self.shortcut(x))


def _stages(config: Config) -> nn.ModuleList:
    basic = config.depth in ("18", "34")
    block = BasicBlock if basic else Bottleneck
    expansion = 1 if basic else _BOTTLENECK_EXPANSION
    inputs = config.width
    stages = nn.ModuleList()
    for number, blocks in enumerate(_STAGES[config.depth]):
        channels = config.width * 2**number
        outputs = channels * expansion
        strides = [1 if number == 0 else 2] + [1] * (blocks - 1)
        stage = nn.Sequential()
        for stride in strides:
            stage.append(block(inputs, channels * config.widen, outputs, stride))
            inputs = outputs
        stages.append(stage)
    return stages


class ResNet(nn.Module):
    """Images `[b, channels, image, image]` to logits `[b, classes]`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.stem = _conv(config.channels, config.width, 7, 2)
        self.bn = nn.BatchNorm2d(config.width)
        self.stages = _stages(config)
        features = config.width * 8 * (1 if config.depth in ("18", "34") else _BOTTLENECK_EXPANSION)
        self.head = nn.Linear(features, config.classes)
        self._init()

    def _init(self) -> None:
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn(self.stem(images))), 3, stride=2, padding=1)
        for stage in self.stages:
            x = stage(x)
        out: Tensor = self.head(x.mean((2, 3)))
        return out


def build(config: Config) -> Entry:
    """The model and one batch of images."""
    images = torch.randn(config.batch, config.channels, config.image, config.image)
    return Entry(ResNet(config), (images,), loss="cross_entropy", bounds={"target": config.classes})
