"""One element along a dimension, chosen by a mask: what is written, and that it computes the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx

from jogak.targets.torch import choices, kernels

ROWS, CLASSES = 24, 1024
INDEX = torch.randint(0, CLASSES, (ROWS, 1), generator=torch.Generator().manual_seed(0))
INDEX[3], INDEX[4], INDEX[5] = -100, CLASSES, CLASSES - 1
VALUES = torch.randn(ROWS, CLASSES, generator=torch.Generator().manual_seed(1))
SCALE = torch.full((1, 1), -0.125)


def rewritten(function: Any, *inputs: Tensor) -> tuple[str, Tensor, Tensor]:
    """The code that is written for a function, and the result of both."""
    module = fx.symbolic_trace(function)
    expected = module(*inputs)
    kernels._Shapes(module).run(*inputs)
    found = choices.replace(module.graph)
    source = module.recompile().src  # type: ignore[operator]
    assert found == ("clamp" in source)
    return source, module(*inputs), expected


def count(like: Any, size: int) -> Tensor:
    """The numbers up to a size, also while a function of `like` is traced."""
    traced = isinstance(like, fx.Proxy)
    return like.tracer.create_proxy("call_function", torch.arange, (size,), {}) if traced else torch.arange(size)


def mask(index: Tensor, classes: int = CLASSES) -> Tensor:
    return index == count(index, classes).reshape([1, classes])


def summed(x: Tensor, index: Tensor) -> Tensor:
    return torch.sum(torch.where(mask(index), x, 0.0), dim=[1], keepdim=True, dtype=torch.float32)


def summed_over_all(x: Tensor, index: Tensor) -> Tensor:
    return torch.sum(torch.where(mask(index), x, 0.0), dim=[0, 1], keepdim=True, dtype=torch.float32)


def summed_of_a_shard(x: Tensor, index: Tensor) -> Tensor:
    positions = (count(x, CLASSES).reshape([1, CLASSES]) + torch.full((1, 1), 7)).to(torch.int64)
    return torch.sum(torch.where(positions == index, x, 0.0), dim=[1], keepdim=True, dtype=torch.float32)


def summed_scale(scale: Tensor, index: Tensor) -> Tensor:
    return torch.sum(torch.where(mask(index), scale, 0.0), dim=[1], keepdim=True, dtype=torch.float32)


def summed_over_rows(x: Tensor, index: Tensor) -> Tensor:
    return torch.sum(torch.where(mask(index), x, 0.0), dim=[0], keepdim=True, dtype=torch.float32)


def added(x: Tensor, index: Tensor) -> Tensor:
    return x * 2.0 + torch.where(mask(index), SCALE, 0.0)


def subtracted(x: Tensor, index: Tensor) -> Tensor:
    return torch.where(mask(index), -0.125, 0.0) - x * SCALE


def subtracted_from(x: Tensor, index: Tensor) -> Tensor:
    return x - torch.where(mask(index), SCALE, 0.0)


def alone(x: Tensor, index: Tensor) -> Tensor:
    return torch.where(mask(index), x, 0.0)


def other_than_zero(x: Tensor, index: Tensor) -> Tensor:
    return torch.where(mask(index), x, 1.0)


def other_comparison(x: Tensor, index: Tensor) -> Tensor:
    return torch.where(index < count(x, CLASSES).reshape([1, CLASSES]), x, 0.0)


def of_each_element(x: Tensor, index: Tensor) -> Tensor:
    return torch.where(x.to(torch.int64) == count(x, CLASSES).reshape([1, CLASSES]), x, 0.0) + index


@pytest.mark.parametrize(
    ("function", "call"),
    [
        (summed, "gather"), (summed_over_all, "gather"), (summed_of_a_shard, "gather"), (summed_scale, "clamp"),
        (summed_over_rows, "scatter_("), (added, "scatter_add"), (subtracted, "scatter_add"),
        (subtracted_from, "scatter_add"), (alone, "scatter_("),
        (other_than_zero, "where(eq,"), (other_comparison, "where(lt,"), (of_each_element, "where(eq,"),
    ],
)  # fmt: skip
def test_what_is_written(function: Any, call: str) -> None:
    """An element is gathered, scattered or added in its place; other masks stay."""
    source, made, expected = rewritten(function, SCALE if function is summed_scale else VALUES, INDEX)
    assert call in source
    torch.testing.assert_close(made, expected, rtol=1e-6, atol=1e-5)


def test_small_masks_stay() -> None:
    """Few elements are compared."""
    source, made, expected = rewritten(
        lambda x, index: torch.where(mask(index, 8), x, 0.0), VALUES[:, :8], INDEX.clamp(-1, 9)
    )
    assert "torch.where(eq," in source
    assert torch.equal(made, expected)


def test_others_are_not_read() -> None:
    """What is not chosen may be no number: it is not added."""
    values = torch.full_like(VALUES, torch.nan).scatter_(1, INDEX.clamp(0, CLASSES - 1), VALUES)
    _, made, expected = rewritten(summed, values, INDEX)
    assert torch.equal(made, expected)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_dimension(data: st.DataObject) -> None:
    """Along any dimension, with any others, for any index and offset, into place or sum."""
    shape = data.draw(st.permutations([1 << 14, *data.draw(st.lists(st.integers(1, 3), max_size=2))]))
    dim = shape.index(1 << 14)
    offset = data.draw(st.integers(-5, 5))
    seed = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    one = [1 if at == dim else size for at, size in enumerate(shape)]
    index = torch.randint(-9, (1 << 14) + 9, one, generator=seed)
    x = torch.randn(shape, generator=seed)
    counted = [size if at == dim else 1 for at, size in enumerate(shape)]
    kind = data.draw(st.sampled_from(["sum", "add", "sub", "alone"]))

    def function(x: Tensor, index: Tensor) -> Tensor:
        positions = count(x, 1 << 14).reshape(counted) + torch.full([1] * len(shape), offset)
        chosen = torch.where(index == positions, x, 0.0)
        if kind == "sum":
            return torch.sum(chosen, dim=[dim], keepdim=True, dtype=torch.float32)
        return {"add": lambda: x.exp() + chosen, "sub": lambda: chosen - x.exp(), "alone": lambda: chosen}[kind]()

    _, made, expected = rewritten(function, x, index)
    assert torch.equal(made, expected)
