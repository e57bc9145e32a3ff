"""Layers that more than one transformer of the zoo is made of. Shapes: b batch, t positions, d width, h heads."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype for sums and angles that bf16 is too coarse for: at least f32."""
    return torch.promote_types(dtype, torch.float32)


def causal_mask(length: int, device: torch.device) -> Tensor:
    """`[length, length]` booleans: True where a position (row) may see another (column)."""
    position = torch.arange(length, device=device)
    return position[:, None] >= position[None, :]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention over the last two dimensions `[..., t, head size]`, written out in full."""
    scores = (q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ v


def split_heads(x: Tensor, heads: int) -> Tensor:
    """`[b, t, h * size]` to `[b, h, t, size]`."""
    batch, length, width = x.shape
    return x.view(batch, length, heads, width // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """`[b, h, t, size]` to `[b, t, h * size]`."""
    batch, heads, length, size = x.shape
    return x.transpose(1, 2).reshape(batch, length, heads * size)


class FusedAttention(nn.Module):
    """Self-attention with one projection for queries, keys and values, `[b, t, d]` to `[b, t, d]`."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).split(x.shape[-1], dim=-1))
        mask = causal_mask(x.shape[1], x.device) if self.causal else None
        out: Tensor = self.proj(merge_heads(attend(q, k, v, mask)))
        return out


class Mlp(nn.Module):
    """Two linear layers with GELU between them, `[..., d]` to `[..., d]`."""

    def __init__(self, width: int, hidden: int, *, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(functional.gelu(self.up(x), approximate=self.approximate))
        return out


class PreNormBlock(nn.Module):
    """A transformer block that normalizes before attention and before its feed-forward part."""

    def __init__(self, attn: nn.Module, mlp: nn.Module, width: int, *, eps: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=eps)
        self.attn = attn
        self.ln_2 = nn.LayerNorm(width, eps=eps)
        self.mlp = mlp

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


def init_normal(module: nn.Module, std: float) -> None:
    """Weights of linear and embedding layers normal with `std`, their biases zero; for `Module.apply`-like use."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)


def init_residual(module: nn.Module, layers: int, std: float) -> None:
    """Scale the projections that write into the residual stream by 1/sqrt(2 * layers), as GPT-2 does."""
    for name, parameter in module.named_parameters():
        if name.endswith(("attn.proj.weight", "mlp.down.weight", "moe.down")):
            nn.init.normal_(parameter, std=std / math.sqrt(2 * layers))
