"""A segment that torch.compile's compiler fails on when it writes into an input, and passes otherwise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from jogak.targets.distributed.rank.inductor import Compiled


def gradient(y: Tensor, w: Tensor, normal: Tensor, scale: Tensor, before: Tensor) -> list[Tensor]:
    """Of a layer normalization: `normal` ends here and holds a product, the result is added to an earlier gradient."""
    scaled = y * w
    mean, product = scaled.sum(2, True), (scaled * normal).sum(2, True)
    weight = (y * normal).sum([0, 1])
    scaled = scaled.sub_(mean / 256).sub_(normal.mul_(product / 256)).mul_(scale)
    return [before.add_(scaled), weight, y.sum([0, 1])]


@pytest.mark.slow
def test_a_product_in_the_memory_of_an_input() -> None:
    shapes = [(4, 128, 256), (256,), (4, 128, 256), (4, 128, 1), (4, 128, 256)]
    given = [torch.randn(shape) for shape in shapes]
    expected = gradient(*[each.clone() for each in given])
    segment = Compiled(gradient)
    found = segment(list(given))
    assert list(segment.made.values()) != [segment._plain]
    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-4)
