"""Arithmetic that is added or averaged in one pass over memory that ends."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, fx

from jogak.targets.torch import kernels, reuse


def rewritten(function: Any, *given: Tensor, owned: int = 1) -> tuple[str, Tensor, Tensor]:
    """The code that is written for a function that may overwrite its first arguments, and the result of both."""
    module = fx.symbolic_trace(function)
    expected = module(*(each.clone() for each in given))
    kernels._Shapes(module).run(*(each.clone() for each in given))
    free = module.graph.find_nodes(op="placeholder")[:owned]
    reuse.overwrite(module.graph, lambda node: node in free or kernels._is_fresh(node))
    return module.recompile().src, module(*(each.clone() for each in given)), expected  # type: ignore[operator]


def values(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in shapes]


NINE, ONE = 0.8999999761581421, 0.10000000149011612


@pytest.mark.parametrize(
    ("function", "owned", "call"),
    [
        (lambda m, g: m * NINE + g * ONE, 1, "m.lerp_(g, 0.10000000149011612)"),
        (lambda m, g: m * NINE + g * ONE, 0, "torch.lerp(m, g, 0.10000000149011612)"),
        (lambda m, g: m * 0.75 + g * 0.25, 1, "m.lerp_(g, 0.25)"),
        (lambda m, g: m * NINE + g * 0.25, 1, "add_(g, alpha = 0.25)"),
        (lambda m, g: m * NINE - g * ONE, 1, "sub_(g, alpha = 0.10000000149011612)"),
        (lambda m, g: m * -0.5 + g * 1.5, 1, "add_(g, alpha = 1.5)"),
        (lambda m, g: m * 0.75 + (g * g) * 0.25, 1, "addcmul_(g, g, value = 0.25)"),
    ],
)
def test_an_average_is_one_pass(function: Any, owned: int, call: str) -> None:
    source, made, expected = rewritten(function, *values((6, 5), (6, 5)), owned=owned)
    assert call in source
    torch.testing.assert_close(made, expected, rtol=1e-6, atol=1e-7)


def test_an_average_with_something_smaller_stays() -> None:
    source, made, expected = rewritten(lambda m, g: m * 0.75 + g * 0.25, *values((6, 5), (1, 5)))
    assert "lerp" not in source
    torch.testing.assert_close(made, expected)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_factor_may_be_a_tensor_of_one_element(sign: int) -> None:
    def function(p: Tensor, q: Tensor, s: Tensor) -> Tensor:
        return p + q.exp() * s if sign == 1 else p - q.exp() * s

    source, made, expected = rewritten(function, *values((6, 5), (6, 5), (1, 1)))
    assert f"p.addcmul_(exp, s, value = {sign}.0)" in source
    torch.testing.assert_close(made, expected)
    source, made, expected = rewritten(function, *values((6, 5), (6, 5), (1, 5)))
    assert "addcmul_" not in source
    torch.testing.assert_close(made, expected)
    source, made, expected = rewritten(function, *values((6, 5), (1, 5), (1, 1)))
    assert "addcmul_" not in source
    torch.testing.assert_close(made, expected)
