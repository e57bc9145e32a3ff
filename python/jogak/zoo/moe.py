"""A decoder with mixture-of-experts layers: GShard's top-2 routing with a capacity (Lepikhin et al. 2020).

Dispatch is dense: one-hot tensors route by einsum, so that the experts are one dimension of stacked parameters and
expert parallelism is the sharding of that dimension. With `balance` above 0 the model takes targets and returns its own
loss, the cross-entropy plus `balance` times the load-balancing loss of Switch Transformer (Fedus et al. 2021).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from jogak.errors import JogakError
from jogak.zoo.entry import Entry
from jogak.zoo.layers import FusedAttention, init_normal, init_residual, wide
from jogak.zoo.options import require_divisible

_CHOICES = 2
"""Experts per token."""


@dataclass(frozen=True)
class Config:
    """Sizes; an expert takes at most `capacity * 2 * sequence / experts` tokens of each sequence, the rest pass by."""

    layers: int = 4
    heads: int = 8
    width: int = 512
    hidden: int = 2048
    experts: int = 8
    capacity: float = 1.25
    balance: float = 0.0
    vocab: int = 32000
    batch: int = 8
    sequence: int = 512

    def __post_init__(self) -> None:
        require_divisible("width", self.width, "heads", self.heads)
        if self.experts < _CHOICES:
            raise JogakError(
                f"option 'experts' is {self.experts}, but each token takes {_CHOICES} of them",
                hint=f"choose at least {_CHOICES} experts",
            )

    @property
    def slots(self) -> int:
        """How many tokens of one sequence an expert takes."""
        return max(1, math.ceil(self.capacity * _CHOICES * self.sequence / self.experts))


def one_hot(index: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """`[...]` integers to `[..., size]` numbers; all zero where the index is not below `size`."""
    return (index[..., None] == torch.arange(size, device=index.device)).to(dtype)


def route(probabilities: Tensor, slots: int) -> tuple[Tensor, Tensor, Tensor]:
    """Choose two experts for each token.

    Args:
        probabilities: `[b, t, e]`.
        slots: the capacity of an expert within a sequence.

    Returns:
        (dispatch, combine, first): dispatch `[b, t, e, slots]` is 1 where a token takes a slot of an expert, combine is
        the same with the token's weight for that expert, first `[b, t, e]` is 1 at the first choice.
    """
    experts, dtype = probabilities.shape[-1], probabilities.dtype
    first = one_hot(probabilities.argmax(-1), experts, dtype)
    second = one_hot((probabilities * (1 - first)).argmax(-1), experts, dtype)
    # Second choices queue up behind all first choices of the sequence.
    first_place = first.cumsum(1) - first
    second_place = second.cumsum(1) - second + first.sum(1, keepdim=True)
    gates = probabilities * (first + second)
    gates = gates / gates.sum(-1, keepdim=True)
    dispatch = first[..., None] * one_hot(first_place.long(), slots, dtype)
    dispatch = dispatch + second[..., None] * one_hot(second_place.long(), slots, dtype)
    return dispatch, dispatch * gates[..., None], first


class MoE(nn.Module):
    """Experts of two linear layers with GELU, `[b, t, d]` to `[b, t, d]` and the load-balancing loss."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.slots = config.slots
        self.router = nn.Linear(config.width, config.experts, bias=False)
        self.up = nn.Parameter(torch.empty(config.experts, config.width, config.hidden))
        self.down = nn.Parameter(torch.empty(config.experts, config.hidden, config.width))
        nn.init.normal_(self.up, std=0.02)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = self.router(x).softmax(-1, dtype=wide(x.dtype))
        dispatch, combine, first = route(probabilities, self.slots)
        tokens = torch.einsum("btes,btd->ebsd", dispatch.to(x.dtype), x)
        hidden = functional.gelu(torch.einsum("ebsd,edf->ebsf", tokens, self.up), approximate="tanh")
        outputs = torch.einsum("ebsf,efd->ebsd", hidden, self.down)
        y = torch.einsum("btes,ebsd->btd", combine.to(x.dtype), outputs)
        balance = (first.mean((0, 1)) * probabilities.mean((0, 1))).sum() * first.shape[-1]
        return y, balance


class Block(nn.Module):
    """Pre-norm attention and experts."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width)
        self.attn = FusedAttention(config.width, config.heads, causal=True)
        self.ln_2 = nn.LayerNorm(config.width)
        self.moe = MoE(config)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x + self.attn(self.ln_1(x))
        y, balance = self.moe(self.ln_2(x))
        return x + y, balance


class MoETransformer(nn.Module):
    """Tokens `[b, t]` to logits `[b, t, vocab]`, or to the loss where targets `[b, t]` are given."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.balance = config.balance
        self.wte = nn.Embedding(config.vocab, config.width)
        self.wpe = nn.Embedding(config.sequence, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.ln_f = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.vocab, bias=False)
        init_normal(self, 0.02)
        init_residual(self, config.layers, 0.02)

    def forward(self, tokens: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        losses = []
        for block in self.blocks:
            x, balance = block(x)
            losses.append(balance)
        logits: Tensor = self.head(self.ln_f(x))
        if labels is None:
            return logits
        loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return loss + self.balance * torch.stack(losses).mean()


def build(config: Config) -> Entry:
    """The model and one batch of tokens, with labels where the model returns its own loss."""
    shape = (config.batch, config.sequence)
    tokens = torch.randint(0, config.vocab, shape)
    model = MoETransformer(config)
    if config.balance == 0:
        bounds = {"tokens": config.vocab, "target": config.vocab}
        return Entry(model, (tokens,), loss="cross_entropy", bounds=bounds)
    labels = torch.randint(0, config.vocab, shape)
    return Entry(model, (tokens,), {"labels": labels}, bounds={"tokens": config.vocab, "labels": config.vocab})
