"""What the batch is, and how it can be cut."""

from __future__ import annotations

import pytest

from jogak.errors import JogakError
from jogak.microbatch.batch import TURN, batch_size, counts, seeds
from jogak.sharding.selection import Argument


def argument(name: str, role: str, *shape: int) -> Argument:
    return Argument(name, role, shape, shape)


STEP = [
    argument("weight", "parameter", 8, 4),
    argument("tokens", "input", 8, 16),
    argument("positions", "input", 1, 16),
    argument("scale", "input"),
    argument("target", "input", 8, 16),
]


def test_the_batch_is_the_first_dimension_of_most_inputs() -> None:
    assert batch_size(STEP) == 8
    assert batch_size(STEP[:1]) is None


def test_counts_divide_the_batch() -> None:
    assert counts(12) == [1, 2, 3, 4, 6, 12]


def test_inputs_are_cut_by_the_batch_and_nothing_else_is() -> None:
    cut = {STEP[seed.value].name: [dim.axes for dim in seed.dims] for seed in seeds(STEP, 4)}
    assert cut == {
        "weight": [(), ()],
        "tokens": [(TURN,), ()],
        "positions": [(), ()],
        "scale": [],
        "target": [(TURN,), ()],
    }
    assert not any(dim.open for seed in seeds(STEP, 4) for dim in seed.dims)


@pytest.mark.parametrize("count", [0, 3, 16])
def test_a_count_that_does_not_divide_the_batch_is_refused_with_those_that_do(count: int) -> None:
    with pytest.raises(JogakError) as error:
        seeds(STEP, count)
    assert error.value.hint == "take one of 1, 2, 4, 8"


def test_without_a_batch_there_are_no_micro_batches() -> None:
    with pytest.raises(JogakError, match="no input with a batch"):
        seeds(STEP[:1], 2)
