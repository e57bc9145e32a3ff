"""The small models whose collectives are counted: each function returns (module, args), the module its own loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


class Mlp(nn.Module):
    """Layers of one width with ReLU in between, and the mean square of the distance to a target."""

    def __init__(self, layers: int, width: int, bias: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width, bias=bias) for _ in range(layers))

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            x = layer(torch.relu(x) if number else x)
        return functional.mse_loss(x, target)


class Attention(nn.Module):
    """Self-attention with its projections."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def attend(self, x: Tensor) -> Tensor:
        """The output projection of what every position takes from the others."""
        batch, length, width = x.shape

        def split(part: Tensor) -> Tensor:
            return part.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

        query, key, value = split(self.query(x)), split(self.key(x)), split(self.value(x))
        scores = query @ key.transpose(2, 3) / (width // self.heads) ** 0.5
        mixed = (torch.softmax(scores, dim=-1) @ value).transpose(1, 2).reshape(batch, length, width)
        projected: Tensor = self.proj(mixed)
        return projected

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(x)


class Layer(Attention):
    """A BERT layer: attention and two linear layers, each with a normalization behind the residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm_1(x + self.attend(x))
        result: Tensor = self.norm_2(x + self.down(functional.gelu(self.up(x))))
        return result


class Stack(nn.Module):
    """Layers without an embedding: nothing needs the gradient of the network's input.

    Args:
        again: whether each layer is computed again in the backward pass.
    """

    def __init__(self, layers: int, width: int, heads: int, again: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.again = again

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=False) if self.again else layer(x)
        return functional.mse_loss(x, target)


class ConvNet(nn.Module):
    """3×3 convolutions of stride 2, each with batch normalization, ReLU and max-pooling."""

    def __init__(self, layers: int, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False) for _ in range(layers)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(layers))

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = functional.max_pool2d(torch.relu(norm(conv(x))), 3, stride=1, padding=1)
        return functional.mse_loss(x.mean((2, 3)) if target.dim() == 2 else x, target)


class Depthwise(nn.Module):
    """1×1 convolution, depthwise 3×3 convolution, 1×1 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, channels, 1, bias=False)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        x = self.project(torch.relu(self.depthwise(torch.relu(self.expand(x)))))
        return functional.mse_loss(x, target)


Built = tuple[nn.Module, tuple[Tensor, Tensor]]


def transformer() -> Built:
    """Two layers of width 64 with 8 heads."""
    return Stack(2, 64, 8), (torch.randn(8, 8, 64), torch.randn(8, 8, 64))


def checkpointed() -> Built:
    """The same, each layer computed again in the backward pass."""
    return Stack(2, 64, 8, True), (torch.randn(8, 8, 64), torch.randn(8, 8, 64))


def mlp() -> Built:
    """Six layers of width 64 with biases."""
    return Mlp(6, 64, True), (torch.randn(32, 64), torch.randn(32, 64))


def wide_batch_mlp() -> Built:
    """Two layers on a batch that is much larger than their weights."""
    return Mlp(2, 32, False), (torch.randn(512, 32), torch.randn(512, 32))


def conv_net() -> Built:
    """Three layers on a large batch."""
    return ConvNet(3, 4), (torch.randn(16, 4, 16, 16), torch.randn(16, 4))


def wide_conv_net() -> Built:
    """Four layers of many channels."""
    return ConvNet(4, 64), (torch.randn(8, 64, 16, 16), torch.randn(8, 64))


def depthwise() -> Built:
    """One depthwise-separable block."""
    return Depthwise(64), (torch.randn(4, 64, 8, 8), torch.randn(4, 64, 8, 8))


def published_mlp() -> Built:
    """The six layers of Alpa's test of two mesh dimensions."""
    return Mlp(6, 32, True), (torch.randn(256, 32), torch.randn(256, 32))


def published_transformer() -> Built:
    """The two layers of Alpa's test of two mesh dimensions."""
    return Stack(2, 128, 8), (torch.randn(8, 8, 128), torch.randn(8, 8, 128))


def published_conv_net() -> Built:
    """Alpa's net for data parallelism: the loss is taken of whole images."""
    return ConvNet(3, 4), (torch.randn(16, 4, 16, 16), torch.randn(16, 4, 2, 2))


def published_wide_conv_net() -> Built:
    """Alpa's net for model parallelism."""
    return ConvNet(4, 256), (torch.randn(8, 256, 16, 16), torch.randn(8, 256, 1, 1))
