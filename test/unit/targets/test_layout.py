"""The order in which a program stores values, and the model's."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from jogak.targets.distributed.rank.layout import logical, stored


def test_a_share_has_an_equal_portion_of_every_part() -> None:
    entry = {"shape": [2, 4], "logical_shape": [8], "shares": [[2, 1, 1]]}
    held = stored(torch.tensor([0, 1, 2, 3, 10, 11, 20, 21]), entry)
    assert held.tolist() == [[0, 1, 10, 20], [2, 3, 11, 21]]
    assert torch.equal(stored(held, entry), held), "what is stored already stays as it is"


def test_without_shares_only_the_shape_differs() -> None:
    entry = {"shape": [3, 2, 2], "logical_shape": [6, 2]}
    value = torch.arange(12).reshape(6, 2)
    assert torch.equal(stored(value, entry), value.reshape(3, 2, 2))
    assert torch.equal(logical(value.reshape(3, 2, 2), entry), value)


parts = st.lists(st.integers(1, 3), min_size=2, max_size=4)


@given(st.lists(st.tuples(st.integers(2, 3), st.just([]) | parts), min_size=1, max_size=3))
def test_back_and_forth(dims: list[tuple[int, list[int]]]) -> None:
    shape = [size for count, sizes in dims for size in ([count, sum(sizes)] if sizes else [count])]
    entry = {
        "shape": shape,
        "logical_shape": [count * sum(sizes) if sizes else count for count, sizes in dims],
        "shares": [sizes for _, sizes in dims],
    }
    value = torch.arange(torch.Size(shape).numel()).reshape(entry["logical_shape"])
    held = stored(value, entry)
    assert list(held.shape) == shape
    assert torch.equal(logical(held, entry), value)
    for dim, (count, sizes) in enumerate(dims):
        at = sum(2 if other else 1 for _, other in dims[:dim])
        if sizes and not any(other for n, (_, other) in enumerate(dims) if n != dim):
            first = value.narrow(dim, 0, count * sizes[0])
            assert torch.equal(held.narrow(at + 1, 0, sizes[0]).flatten(at, at + 1), first)
