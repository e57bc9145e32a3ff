"""BERT (Devlin et al. 2018): post-norm encoder, masked-language-model head tied to the embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from jogak.errors import JogakError
from jogak.zoo.entry import Entry
from jogak.zoo.layers import Mlp, attend, init_normal, merge_heads, split_heads
from jogak.zoo.options import require_divisible

_EPS = 1e-12
_SEGMENTS = 2


@dataclass(frozen=True)
class Config:
    """Sizes; the defaults are BERT-base (109,514,298 parameters with this head)."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"large": {"layers": 24, "heads": 16, "width": 1024}}

    layers: int = 12
    heads: int = 12
    width: int = 768
    vocab: int = 30522
    context: int = 512
    batch: int = 8
    sequence: int = 512

    def __post_init__(self) -> None:
        require_divisible("width", self.width, "heads", self.heads)
        if self.sequence > self.context:
            raise JogakError(
                f"option 'sequence' is {self.sequence}, more than context={self.context}", hint="raise context as well"
            )


class Attention(nn.Module):
    """Bidirectional self-attention with separate projections, `[b, t, d]` to `[b, t, d]`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        out: Tensor = self.proj(merge_heads(attend(q, k, v, None)))
        return out


class Block(nn.Module):
    """A transformer block that normalizes after each residual addition."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.ln_1 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = Mlp(width, 4 * width)
        self.ln_2 = nn.LayerNorm(width, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.ln_1(x + self.attn(x))
        out: Tensor = self.ln_2(x + self.mlp(x))
        return out


class Head(nn.Module):
    """The transform before the tied decoder, and the decoder's bias."""

    def __init__(self, width: int, vocab: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.ln = nn.LayerNorm(width, eps=_EPS)
        self.bias = nn.Parameter(torch.zeros(vocab))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return functional.linear(self.ln(functional.gelu(self.dense(x))), embedding, self.bias)


class Bert(nn.Module):
    """Tokens and segments `[b, t]` to logits `[b, t, vocab]`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocab, config.width)
        self.wpe = nn.Embedding(config.context, config.width)
        self.wse = nn.Embedding(_SEGMENTS, config.width)
        self.ln_e = nn.LayerNorm(config.width, eps=_EPS)
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.layers))
        self.head = Head(config.width, config.vocab)
        init_normal(self, 0.02)

    def forward(self, tokens: Tensor, segments: Tensor) -> Tensor:
        x = self.ln_e(self.wte(tokens) + self.wse(segments) + self.wpe.weight[: tokens.shape[1]])
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.head(x, self.wte.weight)
        return out


def build(config: Config) -> Entry:
    """The model and one batch of tokens with their segments."""
    shape = (config.batch, config.sequence)
    args = (torch.randint(0, config.vocab, shape), torch.randint(0, _SEGMENTS, shape))
    bounds = {"tokens": config.vocab, "segments": _SEGMENTS, "target": config.vocab}
    return Entry(Bert(config), args, loss="cross_entropy", bounds=bounds)
