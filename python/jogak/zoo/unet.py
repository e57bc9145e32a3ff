"""U-Net (Ronneberger et al. 2015) with group norm: max-pool down, upsample, concatenate the skip connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from jogak.errors import JogakError
from jogak.zoo.entry import Entry
from jogak.zoo.options import require_divisible


@dataclass(frozen=True)
class Config:
    """Sizes; `width` channels at full resolution, doubled at each of `levels` poolings by 2."""

    levels: int = 4
    width: int = 64
    groups: int = 8
    upsample: Literal["transpose", "nearest"] = "transpose"
    image: int = 128
    channels: int = 3
    outputs: int = 3
    batch: int = 16

    def __post_init__(self) -> None:
        require_divisible("width", self.width, "groups", self.groups)
        if self.image % 2**self.levels:
            raise JogakError(
                f"option 'image' is {self.image}, which {self.levels} poolings by 2 do not divide",
                hint=f"choose image as a multiple of {2**self.levels}",
            )


def repeat_pixels(x: Tensor) -> Tensor:
    """`[b, c, h, w]` to `[b, c, 2h, 2w]`, every pixel four times: nearest-neighbour upsampling without an index."""
    batch, channels, height, width = x.shape
    repeated = x[:, :, :, None, :, None].expand(batch, channels, height, 2, width, 2)
    return repeated.reshape(batch, channels, 2 * height, 2 * width)


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each with group norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm_1 = nn.GroupNorm(groups, outputs)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm_2 = nn.GroupNorm(groups, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm_1(self.conv_1(x)))
        return functional.relu(self.norm_2(self.conv_2(x)))


class Upsample(nn.Module):
    """Twice the resolution, half the channels: a transposed convolution, or nearest neighbour and a 1x1 convolution."""

    def __init__(self, inputs: int, kind: str) -> None:
        super().__init__()
        self.nearest = kind == "nearest"
        outputs = inputs // 2
        self.conv = nn.Conv2d(inputs, outputs, 1) if self.nearest else nn.ConvTranspose2d(inputs, outputs, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(repeat_pixels(x) if self.nearest else x)
        return out


class UNet(nn.Module):
    """Images `[b, channels, image, image]` to `[b, outputs, image, image]`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        widths = [config.width * 2**level for level in range(config.levels + 1)]
        inputs = [config.channels, *widths[:-1]]
        self.down = nn.ModuleList(DoubleConv(a, b, config.groups) for a, b in zip(inputs, widths, strict=True))
        self.up = nn.ModuleList(Upsample(width, config.upsample) for width in widths[1:])
        self.merge = nn.ModuleList(DoubleConv(2 * width, width, config.groups) for width in widths[:-1])
        self.head = nn.Conv2d(config.width, config.outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.down[0](images)
        skips = []
        for down in list(self.down)[1:]:
            skips.append(x)
            x = down(functional.max_pool2d(x, 2))
        for up, merge, skip in zip(reversed(self.up), reversed(self.merge), reversed(skips), strict=True):
            x = merge(torch.cat((skip, up(x)), dim=1))
        out: Tensor = self.head(x)
        return out


def build(config: Config) -> Entry:
    """The model and one batch of images; the default loss compares with a target image."""
    images = torch.randn(config.batch, config.channels, config.image, config.image)
    return Entry(UNet(config), (images,), loss="mse")
