"""Random numbers that depend on no device: each is a hash of the program's seed, the draw, and a global index.

Dropout masks and noise drawn so are the same on every mesh, are drawn again alike when they are recomputed, and differ
from step to step, because the program adds one to its seed. A generator with a state, as PyTorch has one for each
device, can promise none of this. The idea of counters in place of a state is that of Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3" (SC 2011); the mixing function is `lowbias32` of Chris Wellons, "Prospecting for Hash
Functions" (2018), which is a bijection of 32 bits: within one draw no number repeats before 2**32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from jogak.ingress.attention import plain_attention

SEED = "random.seed"
"""Name of the argument that holds the seed of the step, one i32."""

_ROUNDS = ((16, 0x7FEB352D), (15, 0x846CA68B))
_LAST_SHIFT = 16
_BITS = 32
_GOLDEN = 0x9E3779B9
_LARGEST = 2**31
"""Elements that one counter numbers; the dimensions before them are hashed into the key."""

_DROPOUT = 4
"""Place of the dropout probability among the arguments of `scaled_dot_product_attention`."""

aten = torch.ops.aten


def _signed(value: int) -> int:
    """The i32 with the low 32 bits of a number."""
    value %= 1 << _BITS
    return value - (1 << _BITS) if value >= 1 << (_BITS - 1) else value


def mixed(x: Tensor) -> Tensor:
    """`lowbias32` of every element of an i32 tensor; products wrap, and shifts are made logical by a mask."""
    for shift, factor in _ROUNDS:
        x = (x ^ _logical_shift(x, shift)) * _signed(factor)
    return x ^ _logical_shift(x, _LAST_SHIFT)


def _logical_shift(x: Tensor, shift: int) -> Tensor:
    return torch.bitwise_right_shift(x, shift) & ((1 << (_BITS - shift)) - 1)


def _counter(shape: Sequence[int], device: torch.device) -> Tensor:
    """The row-major number of every element of a shape, i32, as a sum over its dimensions."""
    total = torch.zeros((), dtype=torch.int32, device=device)
    stride = 1
    for dim in reversed(range(len(shape))):
        if shape[dim] > 1:
            along = torch.arange(shape[dim], dtype=torch.int32, device=device) * _signed(stride)
            total = total + along.view(-1, *[1] * (len(shape) - 1 - dim))
        stride *= shape[dim]
    return total.expand(tuple(shape))


def random_bits(seed: Tensor, draw: int, shape: Sequence[int]) -> Tensor:
    """Uniform i32 of a shape.

    Args:
        seed: one i32.
        draw: which draw of the program this is; each has numbers of its own.
    """
    inner = len(shape)
    while inner and math.prod(shape[inner - 1 :]) <= _LARGEST:
        inner -= 1
    key = mixed(mixed(seed ^ _signed((draw + 1) * _GOLDEN)) + draw)
    if inner:
        rows = _counter(shape[:inner], seed.device)
        key = mixed(key ^ mixed(rows)).reshape(*shape[:inner], *[1] * (len(shape) - inner))
    return mixed(mixed(_counter(shape[inner:], seed.device) ^ key) + key)


class Draws:
    """The draws of one run of a model, in the order of its calls.

    Args:
        seed: one i32, the program's argument.
        count: how many there were before.
    """

    def __init__(self, seed: Tensor, count: int = 0) -> None:
        self.seed = seed
        self.count = count

    def bits(self, shape: Sequence[int]) -> Tensor:
        """The next draw."""
        bits = random_bits(self.seed, self.count, shape)
        self.count += 1
        return bits

    def next_seed(self) -> dict[str, Tensor]:
        """The seed of the next step by its name; nothing where nothing was drawn."""
        return {SEED: self.seed + 1} if self.count else {}

    def keep(self, probability: float, shape: Sequence[int]) -> Tensor:
        """A mask that is true with a probability below 1."""
        largest = 2**_BITS - 1  # a threshold of 2**32 would wrap, and keep nothing
        return self.bits(shape) < _signed(min(round(probability * 2**_BITS), largest) - 2 ** (_BITS - 1))

    def uniform(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Numbers in [0, 1) in steps of 2**-24, as PyTorch draws f32; a narrower type may round them up to 1."""
        mantissa = _logical_shift(self.bits(shape), 8)
        return mantissa.to(torch.promote_types(dtype, torch.float32)).mul(2.0**-24).to(dtype)

    def normal(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Standard normal numbers by the transform of Box and Muller (1958)."""
        wide = torch.promote_types(dtype, torch.float32)
        radius = torch.sqrt(-2 * torch.log(1 - self.uniform(shape, wide)))
        return (radius * torch.cos(2 * math.pi * self.uniform(shape, wide))).to(dtype)

    def dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        """`torch.nn.functional.dropout`, never in place."""
        return self._drop(input, p, training, tuple(input.shape))

    def plain_dropout(self, input: Tensor, p: float, train: bool) -> Tensor:
        """`torch.dropout`."""
        return self.dropout(input, p, train)

    def channel_dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        """`torch.nn.functional.dropout1d`, `2d` and `3d` of a batch: whole channels are dropped."""
        return self._drop(input, p, training, (*input.shape[:2], *[1] * (input.dim() - 2)))

    def _drop(self, input: Tensor, p: float, training: bool, shape: Sequence[int]) -> Tensor:
        if not 0 <= p <= 1:
            raise ValueError(f"a dropout probability must be between 0 and 1, not {p}")
        if not training or p == 0:
            return input
        if p == 1:
            return input * 0
        return torch.where(self.keep(1 - p, shape), input / (1 - p), 0.0)

    def native_dropout(self, input: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
        """`aten.native_dropout`, as exported programs call it."""
        if not train or p == 0:
            return input, torch.ones_like(input, dtype=torch.bool)
        keep = self.keep(1 - p, tuple(input.shape)) if p < 1 else torch.zeros_like(input, dtype=torch.bool)
        return torch.where(keep, input / max(1 - p, 2.0**-24), 0.0), keep

    def rand(self, *size: Any, **kwargs: Any) -> Tensor:
        """`torch.rand`."""
        return self.uniform(_size(size, kwargs), kwargs.get("dtype") or torch.get_default_dtype())

    def randn(self, *size: Any, **kwargs: Any) -> Tensor:
        """`torch.randn`."""
        return self.normal(_size(size, kwargs), kwargs.get("dtype") or torch.get_default_dtype())

    def rand_like(self, input: Tensor, **kwargs: Any) -> Tensor:
        """`torch.rand_like`."""
        return self.uniform(tuple(input.shape), kwargs.get("dtype") or input.dtype)

    def randn_like(self, input: Tensor, **kwargs: Any) -> Tensor:
        """`torch.randn_like`."""
        return self.normal(tuple(input.shape), kwargs.get("dtype") or input.dtype)

    def bernoulli(self, input: Tensor, *, generator: Any = None) -> Tensor:
        """`torch.bernoulli` of a tensor of probabilities."""
        return (self.uniform(tuple(input.shape), torch.float32) < input).to(input.dtype)


def _size(size: Sequence[Any], kwargs: dict[str, Any]) -> tuple[int, ...]:
    given = size or (kwargs["size"],)
    return tuple(given[0]) if len(given) == 1 and not isinstance(given[0], int) else tuple(given)


def _attention(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Attention with dropout as matrix products around a mask of ours; without it, what it was."""

    def attention(*args: Any, **kwargs: Any) -> Tensor:
        drops = kwargs.get("dropout_p", args[_DROPOUT] if len(args) > _DROPOUT else 0.0)
        return (plain_attention if drops else original)(*args, **kwargs)

    return attention


def _replacements(draws: Draws) -> list[tuple[Any, str, Callable[..., Any]]]:
    """Namespace, name and replacement."""
    functional = torch.nn.functional
    return [
        (functional, "dropout", draws.dropout),
        *((functional, f"dropout{rank}d", draws.channel_dropout) for rank in (1, 2, 3)),
        (functional, "scaled_dot_product_attention", _attention(functional.scaled_dot_product_attention)),
        (torch, "dropout", draws.plain_dropout),
        *((torch, name, getattr(draws, name)) for name in ("rand", "randn", "rand_like", "randn_like", "bernoulli")),
    ]


class _Replaced(TorchFunctionMode):
    def __init__(self, table: dict[Any, Callable[..., Any]]) -> None:
        super().__init__()
        self.table = table

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self.table.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def counted_draws(seed: Tensor, count: int = 0) -> Iterator[Draws]:
    """Draw by counters inside the block, in the model's own code and in what PyTorch's Python code calls for it.

    Args:
        seed: one i32.
        count: how many draws there were before.

    Raises:
        ValueError: inside, by a probability that is none.
    """
    draws = Draws(seed, count)
    replaced = _replacements(draws)
    table = {getattr(space, name): function for space, name, function in replaced}
    table |= {
        getattr(aten, name).default: function for space, name, function in replaced if space is torch
    }  # as exported programs call them
    table[aten.native_dropout.default] = draws.native_dropout
    saved = [(space, name, getattr(space, name)) for space, name, _ in replaced]
    try:
        for space, name, function in replaced:
            setattr(space, name, function)
        with _Replaced(table):
            yield draws
    finally:
        for space, name, original in saved:
            setattr(space, name, original)
