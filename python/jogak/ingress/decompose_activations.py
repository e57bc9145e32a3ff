"""Activations and pointwise arithmetic, by their exact formulas, in at least f32."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from jogak.ingress.registry import Maybe, Registry, widened

registry = Registry()
aten = torch.ops.aten

_TANH_CUBIC = 0.044715
_TANH_SCALE = math.sqrt(2 / math.pi)
_MAX_MULTIPLICATIONS = 4


def _tanh_argument(x: Tensor) -> Tensor:
    return _TANH_SCALE * (x + _TANH_CUBIC * (x * x * x))


@registry(aten.gelu.default)
def gelu(self: Tensor, approximate: str = "none") -> Tensor:
    """`x * Phi(x)`, or its tanh approximation with the constant sqrt(2/pi) in full precision."""
    x = widened(self)
    if approximate == "tanh":
        return (0.5 * x * (1 + torch.tanh(_tanh_argument(x)))).to(self.dtype)
    return (0.5 * x * (1 + torch.erf(x * math.sqrt(0.5)))).to(self.dtype)


@registry(aten.gelu_backward.default)
def gelu_backward(grad_output: Tensor, self: Tensor, approximate: str = "none") -> Tensor:
    """The derivative of `gelu`."""
    x, grad = widened(self), widened(grad_output)
    if approximate == "tanh":
        tanh = torch.tanh(_tanh_argument(x))
        inner = _TANH_SCALE * (1 + 3 * _TANH_CUBIC * (x * x))
        slope = 0.5 * (1 + tanh) + 0.5 * x * (1 - tanh * tanh) * inner
    else:
        density = torch.exp(-0.5 * (x * x)) * (1 / math.sqrt(2 * math.pi))
        slope = 0.5 * (1 + torch.erf(x * math.sqrt(0.5))) + x * density
    return (grad * slope).to(self.dtype)


@registry(aten.silu.default)
def silu(self: Tensor) -> Tensor:
    """`x * sigmoid(x)`."""
    x = widened(self)
    return (x * torch.sigmoid(x)).to(self.dtype)


@registry(aten.silu_backward.default)
def silu_backward(grad_output: Tensor, self: Tensor) -> Tensor:
    """The derivative of `silu`."""
    x, grad = widened(self), widened(grad_output)
    sigmoid = torch.sigmoid(x)
    return (grad * sigmoid * (1 + x * (1 - sigmoid))).to(self.dtype)


@registry(aten.hardtanh.default)
def hardtanh(self: Tensor, min_val: float = -1, max_val: float = 1) -> Tensor:
    """Clamp; ReLU6 is this with 0 and 6."""
    return self.clamp(min_val, max_val)


@registry(aten.hardtanh_backward.default)
def hardtanh_backward(grad_output: Tensor, self: Tensor, min_val: float, max_val: float) -> Tensor:
    """The gradient where the input is strictly between the bounds."""
    return torch.where((self > min_val) & (self < max_val), grad_output, 0.0)


@registry(aten.pow.Tensor_Scalar)
def pow_scalar(self: Tensor, exponent: float) -> Maybe:
    """Small powers as multiplications, square roots and reciprocals; other powers stay."""
    if exponent == 1:
        return self.clone()
    if float(exponent).is_integer() and 2 <= exponent <= _MAX_MULTIPLICATIONS:
        square = self * self
        return {2: lambda: square, 3: lambda: square * self, 4: lambda: square * square}[int(exponent)]()
    special = {0.5: torch.sqrt, -0.5: torch.rsqrt, -1: torch.reciprocal}.get(exponent)
    if special is None or not self.is_floating_point():
        return NotImplemented
    return special(self)


@registry(aten.native_dropout.default)
def native_dropout(input: Tensor, p: float, train: bool | None) -> Maybe:
    """Without dropout: the tracer refuses probabilities above 0."""
    if p and train:
        return NotImplemented
    return input.clone(), torch.ones_like(input, dtype=torch.bool)
