"""Kernels for measuring: for each kind of work the arithmetic and the memory traffic that the cost model counts.

The sizes are those of layers of models that people train on such a machine; every operand is drawn once, and results
are new memory, as they are in a program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

import torch
from torch import Tensor
from torch.nn import functional

from jogak.probe.measurement import CONTRACTION, CONVOLUTION, OVERHEAD, SPECIAL, VECTOR

Call = Callable[[], object]

MATMULS = (
    (32, 64, 64),
    (64, 256, 256),
    (256, 256, 256),
    (256, 256, 1024),
    (1024, 256, 256),
    (512, 512, 512),
    (1024, 1024, 1024),
)
"""Rows, inner dimension, columns."""
HALF_MATMULS = ((512, 512, 512), (256, 1024, 1024))
"""The same for other element types than f32."""
ATTENTION = ((2, 128, 4, 64),)
"""Sequences, positions, heads, width of a head: products of small matrices, whose rows lie apart in memory."""
CONVOLUTIONS = ((4, 16, 16, 16), (4, 32, 32, 8), (4, 32, 32, 32), (4, 64, 64, 16), (4, 128, 128, 8), (4, 256, 256, 4))
"""Images, channels in, channels out, height and width; windows are 3 by 3."""
ELEMENTS = (1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22)
"""Sizes of vectors."""
SPECIAL_ELEMENTS = 1 << 18
SMALL = 64
"""How many different small tensors calls are made on."""
WORKING_SET = 1 << 25
"""Bytes of the operands of a measurement."""
DTYPES = {"f32": torch.float32, "f64": torch.float64, "bf16": torch.bfloat16, "f16": torch.float16}


@dataclass(frozen=True)
class Case:
    """Something to measure.

    Attributes:
        work: which kind.
        name: for people.
        element: type that it computes in.
        flops: arithmetic operations.
        bytes: read and written.
        call: does it once, or several times.
        times: how often.
    """

    work: str
    name: str
    element: str
    flops: float
    bytes: float
    call: Call
    times: int = 1


def cases(scale: float = 1.0) -> Iterator[Case]:
    """Everything that is measured on one device.

    Args:
        scale: of all sizes; below 1 for a quick look.
    """
    yield _overhead()
    for element in DTYPES:
        for sizes in MATMULS if element == "f32" else HALF_MATMULS:
            yield _matmul(element, [_scaled(size, scale) for size in sizes])
    for sequences, positions, heads, width in ATTENTION:
        yield from _attention(sequences, _scaled(positions, scale), heads, _scaled(width, scale))
    for images, into, out, side in CONVOLUTIONS:
        yield from _convolution(images, _scaled(into, scale), _scaled(out, scale), side)
    for count in ELEMENTS:
        yield from _vector(_scaled(count, scale), special=count == SPECIAL_ELEMENTS)


def _scaled(size: int, scale: float) -> int:
    return max(8, int(size * scale))


def _overhead() -> Case:
    """What a vector operation takes besides its work, on small tensors, different ones each time, as in a program.

    There they come several at a time, between products or convolutions.
    """
    runs = cycle([_small(torch.rand(4, 8), torch.rand(4, 8)) for _ in range(SMALL)])

    def call() -> None:
        for each in next(runs):
            each()

    return Case(OVERHEAD, VECTOR, "f32", 32, 384, call, len(next(runs)))


def other_work() -> Call:
    """An op of each kind, as a layer has them: what runs, untimed, between two calls that are timed.

    In a program the processor's caches forget code and data of an op before the next one of its kind; without other
    work in between, small ones seem two to three times as fast as they are there.
    """
    vectors = cycle([torch.rand(1 << 17) for _ in range(16)])
    a, b = torch.rand(256, 256), torch.rand(64, 256)
    data, weight = torch.rand(4, 32, 16, 16), torch.rand(32, 32, 3, 3)

    def call() -> None:
        torch.exp(next(vectors) + 1.0)
        torch.einsum("ab,cb->ac", a, b)
        functional.conv2d(data, weight, padding=1)

    return call


def _small(a: Tensor, b: Tensor) -> list[Call]:
    """Vector operations as programs have them."""
    row = a[0]
    return [
        lambda: a + b,
        lambda: torch.sum(a, dim=[1], keepdim=True, dtype=torch.float32).reshape([4]),
        lambda: a - row.reshape(1, 8),
        lambda: torch.where(a > b, a, 0.0),
        lambda: torch.rsqrt(a),
        lambda: a.reshape(2, 2, 8) * 0.5,
    ]


def _in_turn(make: Callable[[], tuple[Tensor, ...]], call: Callable[..., object]) -> Call:
    """A call on other operands every time, so that no cache holds them: in a program they were made long before."""
    first = make()
    count = max(2, min(64, WORKING_SET // sum(each.nbytes for each in first)))
    operands = cycle([first, *(make() for _ in range(count - 1))])
    return lambda: call(*next(operands))


def _matmul(element: str, sizes: Sequence[int]) -> Case:
    dtype = DTYPES[element]
    m, k, n = sizes
    moved = (m * k + n * k + m * n) * dtype.itemsize
    call = _in_turn(
        lambda: (torch.rand(m, k).to(dtype), torch.rand(n, k).to(dtype)), lambda a, b: torch.einsum("ab,cb->ac", a, b)
    )
    return Case(CONTRACTION, f"matmul {m}x{k}x{n}", element, 2.0 * m * k * n, moved, call)


def _attention(sequences: int, positions: int, heads: int, width: int) -> Iterator[Case]:
    """The two products of an attention, from queries, keys and values as a projection makes them."""

    def make() -> tuple[Tensor, ...]:
        rows = torch.rand(2, sequences, positions, heads, width)
        return *rows.unbind(), torch.rand(sequences, heads, positions, positions)

    small, large = sequences * positions * heads * width, sequences * heads * positions**2
    name = f"attention {sequences}x{positions}x{heads}x{width}"
    calls: dict[str, Callable[..., object]] = {
        "scores": lambda query, key, scores: torch.einsum("acbe,adbe->abcd", query, key),
        "values": lambda query, value, scores: torch.einsum("abce,aebd->abcd", scores, value),
    }
    for part, moved in (("scores", 2 * small + large), ("values", 2 * small + large)):
        yield Case(CONTRACTION, f"{name} {part}", "f32", 2.0 * large * width, 4.0 * moved, _in_turn(make, calls[part]))


def _convolution(images: int, into: int, out: int, side: int) -> Iterator[Case]:
    def make() -> tuple[Tensor, ...]:
        return torch.rand(images, out, side, side), torch.rand(images, into, side, side), torch.rand(out, into, 3, 3)

    made, data, weight = make()
    flops = 2.0 * made.numel() * into * 9
    moved = 4.0 * (data.numel() + weight.numel() + made.numel())
    sizes = f"{images}x{into}x{side}x{side} to {out}"
    calls: dict[str, Callable[..., object]] = {
        "": lambda made, data, weight: functional.conv2d(data, weight, padding=1),
        ", gradient of the data": lambda made, data, weight: _backward(made, data, weight, [True, False, False])(),
        ", gradient of the weight": lambda made, data, weight: _backward(made, data, weight, [False, True, False])(),
    }
    for name, call in calls.items():
        yield Case(CONVOLUTION, f"convolution {sizes}{name}", "f32", flops, moved, _in_turn(make, call))


def _backward(made: Tensor, data: Tensor, weight: Tensor, mask: list[bool]) -> Call:
    ones = [1, 1]
    return lambda: torch.ops.aten.convolution_backward(
        made, data, weight, None, ones, ones, ones, False, [0, 0], 1, mask
    )


def _vector(count: int, special: bool) -> Iterator[Case]:
    count = count // 64 * 64 or 64
    two = lambda: (torch.rand(count), torch.rand(count))  # noqa: E731
    plain: Sequence[tuple[str, str, int, Callable[[Tensor, Tensor], object]]] = (
        (VECTOR, "add", 12, lambda a, b: a + b),
        (VECTOR, "add in place", 12, lambda a, b: a.add_(b)),
        (SPECIAL, "exponential", 8, lambda a, b: torch.exp(a)),
        (SPECIAL, "logarithm", 8, lambda a, b: torch.log(a)),
        (SPECIAL, "error function", 8, lambda a, b: torch.erf(a)),
        (SPECIAL, "hyperbolic tangent", 8, lambda a, b: torch.tanh(a)),
    )
    for work, name, moved, call in plain:
        if work == VECTOR or special:
            yield Case(work, f"{name} of {count}", "f32", count, float(moved * count), _in_turn(two, call))
