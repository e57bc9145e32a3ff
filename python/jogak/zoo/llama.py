"""Llama (Touvron et al. 2023; grouped queries as in Llama 3): RMSNorm, rotary positions, SwiGLU, no biases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from jogak.zoo.entry import Entry
from jogak.zoo.layers import attend, causal_mask, init_normal, wide
from jogak.zoo.options import require_divisible


@dataclass(frozen=True)
class Config:
    """Sizes; `kv_heads` key and value heads are each shared by `heads / kv_heads` query heads.

    `fused`: one weight for queries, keys and values, and one for gate and up, as in Phi-3.
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "8b": {
            "layers": 32,
            "heads": 32,
            "kv_heads": 8,
            "width": 4096,
            "hidden": 14336,
            "vocab": 128256,
            "theta": 500000.0,
            "sequence": 8192,
            "batch": 1,
        }
    }

    layers: int = 8
    heads: int = 8
    kv_heads: int = 4
    width: int = 512
    hidden: int = 1536
    vocab: int = 32000
    theta: float = 10000.0
    eps: float = 1e-5
    fused: bool = False
    batch: int = 8
    sequence: int = 512

    def __post_init__(self) -> None:
        require_divisible("width", self.width, "heads", self.heads)
        require_divisible("heads", self.heads, "kv_heads", self.kv_heads)
        require_divisible("width", self.width, "2 * heads", 2 * self.heads)


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last dimension and scale."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        exact = x.to(wide(x.dtype))
        return (exact * torch.rsqrt(exact.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight


def rotary_angles(length: int, size: int, theta: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine `[length, size / 2]` of the rotary position embedding (Su et al. 2021), typed as `like`."""
    exponent = torch.arange(0, size, 2, device=like.device, dtype=wide(like.dtype)) / size
    position = torch.arange(length, device=like.device, dtype=wide(like.dtype))
    angle = position[:, None] * theta**-exponent
    return angle.cos().to(like.dtype), angle.sin().to(like.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (first half, second half) of the last dimension of `[b, h, t, size]`."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Attention(nn.Module):
    """Causal grouped-query attention, `[b, t, d]` to `[b, t, d]`; group is a dimension of its own."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.kv_heads = config.kv_heads
        self.groups = config.heads // config.kv_heads
        self.size = config.width // config.heads
        self.sizes = [count * self.size for count in (config.heads, config.kv_heads, config.kv_heads)]
        self.fused = config.fused
        if self.fused:
            self.qkv = nn.Linear(config.width, sum(self.sizes), bias=False)
        else:
            self.q, self.k, self.v = (nn.Linear(config.width, size, bias=False) for size in self.sizes)
        self.proj = nn.Linear(config.heads * self.size, config.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).split(self.sizes, dim=-1) if self.fused else (self.q(x), self.k(x), self.v(x))
        q = q.reshape(batch, length, self.kv_heads, self.groups, self.size).permute(0, 2, 3, 1, 4)
        k = k.reshape(batch, length, self.kv_heads, self.size).transpose(1, 2)
        v = v.reshape(batch, length, self.kv_heads, self.size).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        shared = (batch, self.kv_heads, self.groups, length, self.size)
        y = attend(q, k[:, :, None].expand(shared), v[:, :, None].expand(shared), mask)
        y = y.permute(0, 3, 1, 2, 4).reshape(batch, length, self.kv_heads * self.groups * self.size)
        out: Tensor = self.proj(y)
        return out


class GatedMlp(nn.Module):
    """SwiGLU (Shazeer 2020): down(silu(gate(x)) * up(x))."""

    def __init__(self, width: int, hidden: int, fused: bool = False) -> None:
        super().__init__()
        self.fused = fused
        if fused:
            self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        else:
            self.gate = nn.Linear(width, hidden, bias=False)
            self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1) if self.fused else (self.gate(x), self.up(x))
        out: Tensor = self.down(functional.silu(gate) * up)
        return out


class Block(nn.Module):
    """Pre-norm attention and gated feed-forward."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.norm_1 = RMSNorm(config.width, config.eps)
        self.attn = Attention(config)
        self.norm_2 = RMSNorm(config.width, config.eps)
        self.mlp = GatedMlp(config.width, config.hidden, config.fused)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attn(self.norm_1(x), cos, sin, mask)
        out: Tensor = x + self.mlp(self.norm_2(x))
        return out


class Llama(nn.Module):
    """Tokens `[b, t]` to logits `[b, t, vocab]`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.theta = config.theta
        self.size = config.width // config.heads
        self.wte = nn.Embedding(config.vocab, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm_f = RMSNorm(config.width, config.eps)
        self.head = nn.Linear(config.width, config.vocab, bias=False)
        init_normal(self, 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        x = self.wte(tokens)
        cos, sin = rotary_angles(length, self.size, self.theta, x)
        mask = causal_mask(length, x.device)
        for block in self.blocks:
            x = block(x, cos, sin, mask)
        out: Tensor = self.head(self.norm_f(x))
        return out


def build(config: Config) -> Entry:
    """The model and one batch of tokens."""
    tokens = torch.randint(0, config.vocab, (config.batch, config.sequence))
    bounds = {"tokens": config.vocab, "target": config.vocab}
    return Entry(Llama(config), (tokens,), loss="cross_entropy", bounds=bounds)
