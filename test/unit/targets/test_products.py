"""Convolutions of few windows become matrix products that give the same; others stay convolutions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, fx

from jogak.targets.torch import products


def rewritten(function: Any, *given: Tensor) -> tuple[bool, Tensor, Tensor]:
    """Whether a function was changed, its result then, and before."""
    module = fx.symbolic_trace(function)
    values: dict[fx.Node, Any] = {}

    class Shapes(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, Tensor):
                n.meta["is"] = (tuple(value.shape), value.dtype)
            values[n] = value
            return value

    expected = Shapes(module).run(*given)
    changed = products.replace(module.graph)
    module.recompile()
    return changed, module(*given), expected


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1, [1, 2]])
@pytest.mark.parametrize("dilation", [1, [2, 1]])
@pytest.mark.parametrize(
    ("data", "filters"),
    [
        ((1, 64, 5, 4), (512, 64, 3, 2)),  # few windows
        ((64, 4, 7, 8), (512, 4, 2, 3)),  # few terms, as in the gradient of a filter
    ],
)
def test_a_convolution(data: Any, filters: Any, stride: Any, padding: Any, dilation: Any) -> None:
    x, w = torch.randn(data, dtype=torch.float64), torch.randn(filters, dtype=torch.float64)
    changed, found, expected = rewritten(
        lambda x, w: torch.conv2d(x, w, None, stride=stride, padding=padding, dilation=dilation, groups=1), x, w
    )
    assert changed
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "more"),
    [(1, 0, 1, 0), (1, [1, 2], 1, 0), (2, 1, 1, 1), ([2, 3], [1, 0], [2, 1], [1, 2])],
)
def test_a_transposed_convolution(stride: Any, padding: Any, dilation: Any, more: Any) -> None:
    x, w = torch.randn(2, 512, 5, 4, dtype=torch.float64), torch.randn(512, 32, 3, 3, dtype=torch.float64)
    changed, found, expected = rewritten(
        lambda x, w: torch.conv_transpose2d(
            x, w, None, stride=stride, padding=padding, dilation=dilation, groups=1, output_padding=more
        ),
        x,
        w,
    )
    assert changed
    torch.testing.assert_close(found, expected)


def test_the_gradient_of_a_filter_lies_as_the_filter_does() -> None:
    x, g = torch.randn(64, 4, 6, 6), torch.randn(512, 4, 4, 4)
    changed, found, _ = rewritten(lambda x, g: torch.conv2d(x, g, None), x, g)
    assert changed
    assert found.permute(1, 0, 2, 3).is_contiguous()


@pytest.mark.parametrize(
    ("data", "filters", "groups"),
    [((8, 64, 16, 16), (64, 64, 3, 3), 1), ((1, 64, 3, 3), (512, 32, 3, 3), 2), ((1, 2, 3, 3), (64, 2, 3, 3), 1)],
)
def test_what_stays(data: Any, filters: Any, groups: int) -> None:
    changed, _, _ = rewritten(
        lambda x, w: torch.conv2d(x, w, None, groups=groups), torch.randn(data), torch.randn(filters)
    )
    assert not changed
