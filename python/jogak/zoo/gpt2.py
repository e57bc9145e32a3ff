"""GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"), with tied embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from jogak.errors import JogakError
from jogak.zoo.entry import Entry
from jogak.zoo.layers import FusedAttention, Mlp, PreNormBlock, init_normal, init_residual
from jogak.zoo.options import require_divisible


@dataclass(frozen=True)
class Config:
    """Sizes; the defaults are the 124M model. `context` is the number of position embeddings, `sequence` the input."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "medium": {"layers": 24, "heads": 16, "width": 1024},
        "large": {"layers": 36, "heads": 20, "width": 1280},
        "xl": {"layers": 48, "heads": 25, "width": 1600},
    }

    layers: int = 12
    heads: int = 12
    width: int = 768
    vocab: int = 50257
    context: int = 1024
    batch: int = 8
    sequence: int = 1024

    def __post_init__(self) -> None:
        require_divisible("width", self.width, "heads", self.heads)
        if self.sequence > self.context:
            raise JogakError(
                f"option 'sequence' is {self.sequence}, more than context={self.context}", hint="raise context as well"
            )


class GPT2(nn.Module):
    """Tokens `[b, t]` to logits `[b, t, vocab]`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.width
        self.wte = nn.Embedding(config.vocab, width)
        self.wpe = nn.Embedding(config.context, width)
        self.blocks = nn.ModuleList(
            PreNormBlock(
                FusedAttention(width, config.heads, causal=True),
                Mlp(width, 4 * width, approximate="tanh"),
                width,
                eps=1e-5,
            )
            for _ in range(config.layers)
        )
        self.ln_f = nn.LayerNorm(width)
        init_normal(self, 0.02)
        init_residual(self, config.layers, 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.ln_f(x), self.wte.weight)


def build(config: Config) -> Entry:
    """The model and one batch of tokens."""
    tokens = torch.randint(0, config.vocab, (config.batch, config.sequence))
    bounds = {"tokens": config.vocab, "target": config.vocab}
    return Entry(GPT2(config), (tokens,), loss="cross_entropy", bounds=bounds)
