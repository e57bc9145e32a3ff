"""Integer arithmetic of `arith` on torch's signed integers: unsigned operations, wide products, bit counts.

Values narrower than 64 bits are computed in int64, where their unsigned value fits; 64-bit values need the sign tricks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jogak.runtime.types import bits

SIGN = -(1 << 63)
"""XOR with it turns unsigned 64-bit order into signed order."""
_LOW = (1 << 32) - 1


def unsigned(x: Tensor, element: str) -> Tensor:
    """The unsigned value in int64; a 64-bit value keeps its bits."""
    width = bits(element)
    wide = x.to(torch.int64)
    return wide if width == 64 else wide & ((1 << width) - 1)


def signed(x: Tensor, element: str) -> Tensor:
    """The signed value; `i1` becomes 0 and -1 in int8."""
    return -x.to(torch.int8) if element == "i1" else x


def less(a: Tensor, b: Tensor) -> Tensor:
    """Unsigned `a < b` of values as `unsigned` returns them."""
    return (a ^ SIGN) < (b ^ SIGN)


def shift_right(x: Tensor, count: Tensor | int) -> Tensor:
    """Logical shift of a 64-bit value; a count of 0 is allowed."""
    if isinstance(count, int):
        return (x >> count) & ((1 << (64 - count)) - 1) if count else x
    mask = ~(torch.full_like(count, -1) << (64 - count).clamp(max=63))
    return torch.where(count == 0, x, (x >> count) & mask)


def divide(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Unsigned quotient and remainder of 64-bit values (Hacker's Delight, 9-3: halve, divide, correct)."""
    positive = torch.where(b < 0, torch.ones_like(b), b)
    half = torch.div(shift_right(a, 1), positive, rounding_mode="trunc") << 1
    quotient = half + (~less(a - half * positive, positive)).to(torch.int64)
    quotient = torch.where(b < 0, (~less(a, b)).to(torch.int64), quotient)
    return quotient, a - quotient * b


def high_product(a: Tensor, b: Tensor) -> Tensor:
    """The high 64 bits of the unsigned 128-bit product (Hacker's Delight, 8-2: products of halves)."""
    a_low, a_high, b_low, b_high = a & _LOW, shift_right(a, 32), b & _LOW, shift_right(b, 32)
    middle = a_high * b_low + shift_right(a_low * b_low, 32)
    other = a_low * b_high + (middle & _LOW)
    return a_high * b_high + shift_right(middle, 32) + shift_right(other, 32)


def multiply_extended(a: Tensor, b: Tensor, element: str, *, is_signed: bool) -> tuple[Tensor, Tensor]:
    """Low and high half of the full product, each in the element type."""
    width = bits(element)
    if width < 64:
        product = a.to(torch.int64) * b.to(torch.int64) if is_signed else unsigned(a, element) * unsigned(b, element)
        return product.to(a.dtype), shift_right(product, width).to(a.dtype)
    high = high_product(a, b)
    if is_signed:
        high = high - torch.where(a < 0, b, 0) - torch.where(b < 0, a, 0)
    return a * b, high


def count_ones(x: Tensor, element: str) -> Tensor:
    """The number of one bits, in int64."""
    value = unsigned(x, element)
    count = value & 1
    for position in range(1, bits(element)):
        count = count + ((value >> position) & 1)
    return count


def leading_zeros(x: Tensor, element: str) -> Tensor:
    """The number of zero bits above the highest one, in int64."""
    value = unsigned(x, element)
    width = bits(element)
    count = shift_right(value, 0) * 0
    for position in range(width):
        count = count + (shift_right(value, position) == 0)
    return count
