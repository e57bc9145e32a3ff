"""Selections become PyTorch's vectorized functions; those that mean something else stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, fx

from jogak.runtime.kernels.emit import Emitter
from jogak.targets.torch import idioms


def rewritten(function: Any, *given: Tensor) -> tuple[str, Tensor, Tensor]:
    """The code that is written for a function, and the result of both."""
    module = fx.symbolic_trace(function)
    for node, value in zip(module.graph.find_nodes(op="placeholder"), given, strict=True):
        node.meta["is"] = (tuple(value.shape), value.dtype)
    for node in module.graph.nodes:
        node.meta.setdefault("is", (tuple(given[0].shape), given[0].dtype))
    expected = module(*given)
    idioms.replace(module.graph)
    return module.recompile().src, module(*given), expected  # type: ignore[operator]


def rectified_short(x: Tensor) -> Tensor:
    return torch.where((x > 0.0) | torch.isnan(x), x, 0.0)


def without_nan(x: Tensor) -> Tensor:
    return torch.where(x > 0.0, x, 0.0)


def above_one(x: Tensor) -> Tensor:
    return torch.where((x > 1.0) | torch.isnan(x), x, 0.0)


def not_below(x: Tensor) -> Tensor:
    return torch.where((x < 0.0) | torch.isnan(x), 0.0, x)


def with_nan(x: Tensor) -> Tensor:
    return torch.where(x < 0.0, 0.0, x)


def not_below_one(x: Tensor) -> Tensor:
    return torch.where((x < 0.0) | torch.isnan(x), 1.0, x)


def gradient(x: Tensor, g: Tensor) -> Tensor:
    return torch.where(x <= 0.0, 0.0, g)


def other_gradient(x: Tensor, g: Tensor) -> Tensor:
    return torch.where(x <= 0.0, 1.0, g)


def larger(x: Tensor, g: Tensor) -> Tensor:
    return torch.where(x > g, x, g)


def smaller(x: Tensor, g: Tensor) -> Tensor:
    return torch.where(x > g, g, x)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (rectified_short, "relu"), (without_nan, "where"), (above_one, "where"),
        (not_below, "fmax"), (with_nan, "where"), (not_below_one, "where"),
        (gradient, "threshold_backward"), (other_gradient, "where"), (larger, "maximum"), (smaller, "where"),
    ],
)  # fmt: skip
def test_what_a_selection_becomes(function: Any, name: str) -> None:
    given = [torch.randn(5, 7), torch.randn(5, 7)][: function.__code__.co_argcount]
    given[0][0, :2] = torch.tensor([0.0, -0.0])
    if function is not larger:
        given[0][1, 1] = torch.nan
    code, found, expected = rewritten(function, *given)
    assert name in code
    assert name == "where" or "where" not in code
    torch.testing.assert_close(found, expected, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_a_mask_leaves(dtype: torch.dtype) -> None:
    value, mask = torch.randn(5, 7).to(dtype), torch.rand(5, 7) > 0.5
    value[0] = torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0, -0.0, 1.0, -1.0])
    for function, name in (
        (lambda value, mask: torch.where(mask, value, 0.0), "threshold_backward"),
        (lambda value, mask: torch.where(mask, value, 1.0), "where"),
        (lambda value, mask: torch.where(mask, 0.0, value), "where"),
    ):
        code, found, expected = rewritten(function, value, mask)
        assert name in code
        torch.testing.assert_close(found, expected, equal_nan=True, rtol=0, atol=0)
    for function in (
        lambda value, mask: torch.where(mask, value, 0.0), lambda value, mask: torch.where(mask, 0.0, value),
    ):  # fmt: skip
        code, found, expected = rewritten(function, value, mask[:, :1])
        assert "threshold_backward" in code
        torch.testing.assert_close(found, expected, equal_nan=True, rtol=0, atol=0)


def test_a_gradient_of_another_form_stays() -> None:
    code, found, expected = rewritten(gradient, torch.randn(5, 7), torch.randn(5, 1))
    assert "where" in code
    torch.testing.assert_close(found, expected)


def test_a_rectifier_whose_zero_is_a_tensor() -> None:
    emit = Emitter(None)
    x, zero = emit.input(), emit.full((1, 1), (0.0).hex(), "f32")
    chosen = emit.call(torch.where, (x > zero) | (torch.isnan(x) | torch.isnan(zero)), x, 0.0)
    module = emit.finish([chosen], "Kernel")
    for node in module.graph.nodes:
        node.meta["is"] = (None, None)
    idioms.replace(module.graph)
    module.recompile()
    assert "where" not in module.code
    torch.testing.assert_close(module(torch.tensor([-1.0, 2.0])), torch.tensor([0.0, 2.0]))
